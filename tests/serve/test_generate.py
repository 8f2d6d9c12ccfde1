"""Images on demand: GET and POST generate, through a real Ray Serve."""

import io
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from serve.images import sheet
from tests.serve.conftest import READ, SHEET, error_line
from unlearn.gallery import VARIANTS


def test_a_sheet_is_the_same_bytes_each_time_and_by_get_and_post(client: httpx.Client) -> None:
    ask: dict[str, str | int] = {"label": 3, "n": 16, "seed": 5, "variant": "oracle"}
    first, again = client.get(SHEET, params=ask), client.get(SHEET, params=ask)
    posted = client.post(SHEET, json=ask)
    assert first.headers["content-type"] == "image/png"
    assert first.content == again.content == posted.content
    assert Image.open(io.BytesIO(first.content)).size == ((4 * 29 - 1) * 3,) * 2


def test_png_json_and_npy_hold_the_same_images(client: httpx.Client) -> None:
    ask = {"label": 2, "n": 5, "seed": 1}
    images = np.load(
        io.BytesIO(client.post(SHEET, json={**ask, "format": "npy"}).content), allow_pickle=False
    )
    answer = client.post(SHEET, json={**ask, "format": "json"}).json()
    assert (images.dtype, images.shape) == (np.uint8, (5, 1, 28, 28))
    assert np.allclose(answer["images"], images / 255, atol=1e-4)
    assert client.get(SHEET, params=ask).content == sheet(images)
    assert {key: answer[key] for key in ("label", "n", "seed", "variant")} == {
        **ask,
        "variant": "amnesiac",
    }
    assert answer["version"] == client.get("/v1/models/digits").json()["version"]


def test_variants_differ_on_the_forgotten_label(client: httpx.Client) -> None:
    sheets = {
        client.get(SHEET, params={"label": 1, "variant": variant}).content for variant in VARIANTS
    }
    assert len(sheets) == 3


def test_etag_spares_a_client_what_it_has(client: httpx.Client) -> None:
    first = client.get(SHEET, params={"label": 4})
    tag = first.headers["etag"]
    for known in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        answer = client.get(SHEET, params={"label": 4}, headers={"If-None-Match": known})
        assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", tag)
    asks: list[dict[str, str | int]] = [
        {"label": 5},
        {"label": 4, "n": 4},
        {"label": 4, "seed": 1},
        {"label": 4, "variant": "oracle"},
    ]
    for ask in asks:
        assert client.get(SHEET, params=ask, headers={"If-None-Match": tag}).status_code == 200


@pytest.mark.parametrize(
    ("ask", "says"),
    [
        ({"label": 10}, "label must be a whole number from 0 to 9, not 10"),
        ({"label": -1}, "label must be a whole number from 0 to 9, not -1"),
        ({"label": "three"}, "label must be a whole number"),
        ({}, "label is missing"),
        ({"label": 3, "n": 0}, "n must be a whole number from 1 to 256"),
        ({"label": 3, "n": 257}, "n must be a whole number from 1 to 256"),
        ({"label": 3, "n": "1e3"}, "n must be a whole number from 1 to 256"),
        ({"label": 3, "seed": -1}, "seed must be a whole number from 0 to 4294967295"),
        ({"label": 3, "seed": 2**32}, "seed must be a whole number from 0 to 4294967295"),
        ({"label": 3, "seed": "9" * 5000}, "seed must be a whole number from 0 to 4294967295"),
        (
            {"label": 3, "variant": "best"},
            "variant must be one of amnesiac, original, oracle, not 'best'",
        ),
        ({"labe": 3}, "unknown key 'labe'; allowed: label, n, seed, variant"),
    ],
    ids=str,
)
def test_get_refuses_with_the_allowed_range(
    client: httpx.Client, ask: dict[str, Any], says: str
) -> None:
    assert says in error_line(client.get(SHEET, params=ask), 422)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"label": 3, "format": "gif"}, "format must be one of png, json, npy, not 'gif'"),
        ({"label": True}, "label must be a whole number"),
        ({"label": 3.5}, "label must be a whole number"),
        ({"label": None}, "label must be a whole number"),
        ({"label": [3]}, "label must be a whole number"),
        ({"label": 3, "n": 1e300}, "n must be a whole number from 1 to 256"),
        ([], "the body must be a JSON object"),
        ("text", "the body must be a JSON object"),
        (None, "the body must be a JSON object"),
        ({"label": 3, "x": 1}, "unknown key 'x'"),
    ],
    ids=str,
)
def test_post_refuses_with_the_allowed_range(client: httpx.Client, body: Any, says: str) -> None:
    assert says in error_line(client.post(SHEET, json=body), 422)


@pytest.mark.parametrize(
    "body", [b"", b"{", b"\xff\xfe", b'{"label": NaN}', b"[" * 100_000, b'{"label": 3,}']
)
def test_post_refuses_what_is_no_json(client: httpx.Client, body: bytes) -> None:
    for path in (SHEET, READ):
        answer = client.post(path, content=body, headers={"Content-Type": "application/json"})
        assert answer.json()["error"]
        assert answer.status_code in (400, 422)


def test_an_unknown_name_is_refused_with_the_known_ones(client: httpx.Client) -> None:
    for path in (
        "/v1/models/nope",
        "/v1/models/nope/generate?label=1",
        "/v1/models/%2e%2e",
        "/v1/models/a%00b",
    ):
        line = error_line(client.get(path), 404)
        assert line == f"no model {path_name(path)!r}; known: digits, reader"
    assert "digits, reader" in error_line(
        client.post("/v1/models/nope/classify", json={"images": []}), 404
    )
    assert "see /docs" in error_line(client.get("/v1/model"), 404)
    assert "see /docs" in error_line(client.delete("/v1/models/digits"), 405)


def path_name(path: str) -> str:
    """Return the model's name in a path, decoded."""
    return {"/v1/models/%2e%2e": "..", "/v1/models/a%00b": "a\0b"}.get(path, "nope")


def test_each_task_refuses_the_other(client: httpx.Client) -> None:
    says = error_line(client.get("/v1/models/reader/generate", params={"label": 1}), 422)
    assert says == "model 'reader' is a classifier: it can classify, not generate"
    says = error_line(client.post("/v1/models/digits/classify", json={"images": [[]]}), 422)
    assert says == "model 'digits' is a generator: it can generate, not classify"


@pytest.mark.parametrize(
    "path",
    [
        "/v1/models/%ff",
        "/v1/models/%ed%a0%80/generate?label=1",
        f"{SHEET}?label=%ff",
        f"{SHEET}?label=1&label=x",
        f"{SHEET}?%00=1&label=1",
        f"{SHEET}?label=1&variant=%ed%a0%80",
        f"{SHEET}?label=1;n=2",
        f"{SHEET}?" + "&".join(f"k{i}=1" for i in range(2000)),
    ],
    ids=lambda path: path[:60],
)
def test_an_odd_address_is_a_clear_4xx(client: httpx.Client, path: str) -> None:
    answer = client.get(path)
    assert error_line(answer, answer.status_code)
    assert answer.status_code in (404, 422)


@pytest.mark.parametrize(
    "body",
    ['{"label": 3, "\\ud800": 1}', '{"label": 3, "variant": "\\ud800"}', '{"label": "\\u0000"}'],
)
def test_odd_characters_in_a_body_are_a_clear_422(client: httpx.Client, body: str) -> None:
    answer = client.post(SHEET, content=body, headers={"Content-Type": "application/json"})
    assert error_line(answer, answer.status_code)
    assert answer.status_code in (400, 422)
