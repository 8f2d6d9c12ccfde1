"""The client: its examples in docs/serving.md, retries, and errors in one line."""

import io
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi import FastAPI
from fastapi.responses import JSONResponse, Response
from PIL import Image

from serve.client import Client, ServiceError
from tests.serve.conftest import TOKEN
from tests.serve.local import listening, local_app
from unlearn.gallery import Gallery

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def url(made: Path) -> Iterator[str]:
    """The service in front of the real digits, with a token."""
    with listening(local_app(Gallery(str(made)), token=TOKEN)) as address:
        yield address


@pytest.fixture
def client(url: str) -> Iterator[Client]:
    with Client(url, TOKEN) as opened:
        yield opened


def test_models_are_typed(client: Client) -> None:
    digits, reader = client.models()
    assert (digits.name, digits.task) == ("digits", "generator")
    assert (digits.forget, digits.classes) == ((1,), 10)
    assert (reader.name, reader.task, reader.error) == ("reader", "classifier", None)
    assert client.model("digits") == digits
    assert len(digits.versions) == 2
    assert digits.scores["forget_probability"] == 0.02


def test_generate_returns_the_images_of_the_sheet(client: Client) -> None:
    images = client.generate("digits", 3, n=4, seed=7, variant="oracle")
    assert images.shape == (4, 1, 28, 28)
    assert images.dtype == np.uint8
    assert (images == client.generate("digits", 3, n=4, seed=7, variant="oracle")).all()
    older = client.model("digits").versions[0]
    before = client.generate("digits", 1, n=4, version=older)
    assert (before != client.generate("digits", 1, n=4)).any()


def test_arrays_and_files_are_read_alike(client: Client, tmp_path: Path) -> None:
    images = client.generate("digits", 0, n=2, variant="original")
    file = io.BytesIO()
    Image.fromarray(images[1, 0]).save(file, "PNG")
    (tmp_path / "one.png").write_bytes(file.getvalue())
    found = client.classify("reader", images, variant="original")
    assert found.predicted.shape == (2,)
    assert np.allclose(found.probabilities.sum(1), 1)
    floats = client.classify("reader", images[:, 0] / 255, variant="original")
    assert np.allclose(found.probabilities, floats.probabilities, atol=1e-6)
    files = client.classify("reader", [file.getvalue(), tmp_path / "one.png"], variant="original")
    assert np.allclose(files.probabilities, found.probabilities[1], atol=1e-5)


def test_refusals_keep_the_service_s_line_and_status(client: Client, url: str) -> None:
    with pytest.raises(ServiceError, match="no model 'nope'; known: digits, reader") as unknown:
        client.generate("nope", 3)
    assert unknown.value.status == 404
    with pytest.raises(ServiceError, match="label must be a whole number from 0 to 9") as wrong:
        client.generate("digits", 12)
    assert wrong.value.status == 422
    with pytest.raises(ServiceError, match="without its audit, promote it again"):
        client.audit("digits")
    with Client(url) as stranger, pytest.raises(ServiceError) as refused:
        stranger.models()
    assert refused.value.status == 401


def test_no_service_is_one_line() -> None:
    with Client("http://127.0.0.1:1") as client, pytest.raises(ServiceError) as caught:
        client.models()
    assert "no answer from http://127.0.0.1:1" in str(caught.value)
    assert caught.value.status is None


def busy(refusals: int, header: str | None) -> tuple[FastAPI, list[int]]:
    """An application that is busy for the first requests; the list counts all of them."""
    app, asked = FastAPI(), []

    @app.get("/v1/models")
    def models() -> Response:
        asked.append(1)
        if len(asked) <= refusals:
            headers = {} if header is None else {"Retry-After": header}
            return JSONResponse({"error": "too busy"}, 429, headers)
        return JSONResponse({"models": []})

    return app, asked


@pytest.mark.parametrize(
    ("header", "seconds"), [("3", 3.0), (None, 1.0), ("soon", 1.0), ("9999", 30.0)]
)
def test_a_busy_service_is_asked_again_after_as_long_as_it_says(
    monkeypatch: pytest.MonkeyPatch, header: str | None, seconds: float
) -> None:
    waited: list[float] = []
    monkeypatch.setattr("serve.client.time.sleep", waited.append)
    app, asked = busy(2, header)
    with listening(app) as url, Client(url) as client:
        assert client.models() == []
    assert (waited, len(asked)) == ([seconds, seconds], 3)


def test_it_gives_up_after_its_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serve.client.time.sleep", lambda seconds: None)
    app, asked = busy(9, "1")
    with (
        listening(app) as url,
        Client(url, tries=3) as client,
        pytest.raises(ServiceError, match="too busy") as caught,
    ):
        client.models()
    assert (caught.value.status, len(asked)) == (429, 3)


def test_a_request_that_a_process_died_under_is_sent_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waited: list[float] = []
    monkeypatch.setattr("serve.client.time.sleep", waited.append)
    outcomes: list[httpx.Response | Exception] = [
        httpx.Response(200, json={"models": []}),
        httpx.ConnectError("refused"),
        httpx.RemoteProtocolError("closed without an answer"),
        httpx.Response(500, text="Internal Server Error"),  # of the proxy
        httpx.Response(200, json={"models": []}),
    ]

    def answer(transport: httpx.HTTPTransport, request: httpx.Request) -> httpx.Response:
        outcome = outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    monkeypatch.setattr(httpx.HTTPTransport, "handle_request", answer)
    with Client("http://service") as client:
        assert client.models() == client.models() == []
    assert (waited, outcomes) == ([0.1, 0.2, 0.4], [])


def test_it_needs_no_torch_and_no_ray() -> None:
    code = "import sys; sys.modules['torch'] = sys.modules['ray'] = None; import serve.client"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False)
    assert run.returncode == 0


def test_the_examples_of_the_docs_run(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (ROOT / "docs" / "serving.md").read_text()
    section = page.partition("## From Python")[2].partition("\n## ")[0]
    [example] = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    monkeypatch.setenv("AMNESIA_TOKEN", TOKEN)
    assert "http://127.0.0.1:8000" in example
    names: dict[str, Any] = {}
    exec(example.replace("http://127.0.0.1:8000", url), names)
    assert names["images"].shape == (16, 1, 28, 28)
    assert names["read"].predicted.shape == (16,)
