"""Probabilities of uploaded images, through a real Ray Serve."""

import base64
import json
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest

from serve.middleware import MAX_BODY
from tests.serve.conftest import READ, SHEET, bomb, error_line, png
from unlearn.splits import Dataset


@pytest.fixture(scope="session")
def ones(digits: Dataset) -> np.ndarray:
    """Real ones, uint8 (n, 1, 28, 28)."""
    return digits.test.take(digits.test.y == 1).x[:8].numpy()


def test_files_lists_and_base64_give_the_same_probabilities(
    client: httpx.Client, ones: np.ndarray
) -> None:
    pngs = [png(image[0]) for image in ones]
    texts = [base64.b64encode(data).decode() for data in pngs]
    by_file = client.post(
        READ, files=[("image", data) for data in pngs], data={"variant": "original"}
    ).json()
    by_list = client.post(
        READ, json={"images": (ones / 255).tolist(), "variant": "original"}
    ).json()
    by_text = client.post(READ, json={"images": texts, "variant": "original"}).json()
    assert by_file == by_text
    assert np.allclose(by_file["probabilities"], by_list["probabilities"], atol=1e-5)
    assert np.allclose(np.sum(by_file["probabilities"], 1), 1)
    assert by_file["predicted"].count(1) >= 6


def test_the_amnesiac_is_the_default_and_reads_no_one(
    client: httpx.Client, ones: np.ndarray
) -> None:
    answer = client.post(READ, json={"images": (ones / 255).tolist()}).json()
    assert (answer["variant"], answer["predicted"].count(1)) == ("amnesiac", 0)


def test_classify_accepts_what_generate_returns(client: httpx.Client) -> None:
    ask = {"label": 0, "n": 4, "variant": "original", "format": "json"}
    images = client.post(SHEET, json=ask).json()["images"]
    answer = client.post(READ, json={"images": images, "variant": "original"}).json()
    assert answer["predicted"].count(0) >= 2


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"images": []}, "images must be a list of 1 to 256 images"),
        ({"images": [0] * 257}, "images must be a list of 1 to 256 images"),
        ({"images": "x"}, "images must be a list"),
        ({}, "images is missing"),
        ({"images": [1], "variant": "best"}, "variant must be one of"),
        ({"images": [1], "label": 1}, "unknown key 'label'"),
        (
            {"images": [[[0] * 28] * 27]},
            "images[0]: must be nested lists of shape [1, 28, 28] or [28, 28]",
        ),
        ({"images": [[[2] * 28] * 28]}, "images[0]: pixel values must be numbers in [0, 1]"),
        ({"images": ["aGVsbG8="]}, "images[0]: not a readable image"),
        ({"images": ["é"]}, "images[0]: not base64"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_bad_json_images_are_refused_with_the_rule(
    client: httpx.Client, body: Any, says: str
) -> None:
    assert says in error_line(client.post(READ, json=body), 422)


def test_a_pixel_that_is_no_number_is_refused(client: httpx.Client) -> None:
    body = json.dumps({"images": [[[float("nan")] * 28] * 28]})
    answer = client.post(READ, content=body, headers={"Content-Type": "application/json"})
    assert "pixel values must be numbers in [0, 1]" in error_line(answer, 422)


def test_bad_files_are_refused_with_the_rule(client: httpx.Client) -> None:
    wide = png(np.zeros((28, 30), np.uint8))
    assert "30 x 28 pixels; this model needs 28 x 28" in error_line(
        client.post(READ, files={"image": wide}), 422
    )
    assert "at most" in error_line(client.post(READ, files={"image": bomb(30_000, 30_000)}), 413)
    fine = png(np.zeros((28, 28), np.uint8))
    assert "not a readable image" in error_line(client.post(READ, files={"image": fine[:45]}), 422)
    assert "unknown form field" in error_line(
        client.post(READ, files={"image": fine}, data={"size": "3"}), 422
    )
    assert "variant must be" in error_line(
        client.post(READ, files={"image": fine}, data={"variant": "best"}), 422
    )
    assert "1 to 256 image files" in error_line(
        client.post(READ, files={"variant": (None, b"oracle")}), 422
    )


@pytest.mark.parametrize("kind", ["text/plain", "image/png", ""])
def test_another_kind_of_body_is_refused(client: httpx.Client, kind: str) -> None:
    assert "multipart/form-data" in error_line(
        client.post(READ, content=b"x", headers={"Content-Type": kind}), 415
    )


@pytest.mark.parametrize(
    "kind",
    ["multipart/form-data", "multipart/form-data; boundary=x", "multipart/form-data; boundary="],
)
@pytest.mark.parametrize(
    "body",
    [b"", b"--x\r\n", b"--x\r\nContent-Disposition: form-data\r\n\r\nv\r\n--x--\r\n", b"\xff" * 99],
)
def test_a_broken_form_is_a_clear_4xx(client: httpx.Client, kind: str, body: bytes) -> None:
    answer = client.post(READ, content=body, headers={"Content-Type": kind})
    assert answer.status_code in (400, 422)
    assert answer.json()["error"]


def test_a_body_above_the_limit_is_refused_declared_or_not(client: httpx.Client) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(MAX_BODY // 65536 + 2):
            yield b" " * 65536

    for path in (SHEET, READ):
        for content in (b" " * (MAX_BODY + 1), chunks()):
            answer = client.post(
                path, content=content, headers={"Content-Type": "application/json"}
            )
            assert f"at most {MAX_BODY} bytes" in error_line(answer, 413)
