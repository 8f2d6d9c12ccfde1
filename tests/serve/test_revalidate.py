"""A sheet that the client has is answered as the whole application answers it, only sooner."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from starlette.testclient import TestClient

import serve.api
import unlearn.digests
from serve.api import build_app
from serve.catalog import Catalog
from serve.models import ModelCache
from serve.trace import Trace
from tests.serve.conftest import SHEET, LocalBackend
from unlearn.gallery import Gallery

ASK = {"label": 3, "n": 2}


class Notes:
    """Keeps the traces of requests."""

    def __init__(self) -> None:
        self.traces: list[Trace] = []

    def count(self, trace: Trace) -> None:
        self.traces.append(replace(trace, request_id="", seconds=0.0))


@pytest.fixture
def opened(gallery: Gallery) -> tuple[TestClient, Notes]:
    notes = Notes()
    app = build_app(Catalog(gallery), LocalBackend(ModelCache(gallery)), None, meter=notes)
    return TestClient(app), notes


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """Count how often the route computed an ETag since the last call."""
    calls: list[int] = []
    original = unlearn.digests.digest

    def counting(value: object) -> str:
        calls.append(1)
        return original(value)

    def count() -> int:
        found = len(calls)
        calls.clear()
        return found

    monkeypatch.setattr(serve.api, "digest", counting)
    return count


def ask(client: TestClient, tag: str, **more: str) -> Any:
    return client.get(SHEET, params={**ASK, **more}, headers={"If-None-Match": tag})


def test_the_second_answer_is_the_first_one_without_the_route(
    opened: tuple[TestClient, Notes], computed: Callable[[], int]
) -> None:
    client, notes = opened
    tag = client.get(SHEET, params={**ASK, "seed": 0}).headers["etag"]  # another URL, same sheet
    computed()
    first = ask(client, tag)
    assert computed() == 1
    second = ask(client, tag)
    assert computed() == 0
    assert first.status_code == second.status_code == 304
    assert first.headers == second.headers
    assert first.content == second.content == b""
    assert notes.traces[1] == notes.traces[2]  # log line and metrics are the same too
    assert notes.traces[2].route == "/v1/models/{name}/generate"


@pytest.mark.parametrize(
    ("header", "status"),
    [("{tag}", 304), ("W/{tag}", 304), ('"x", {tag}', 304), ("*", 304), ('"x"', 200), ("", 200)],
)
def test_the_header_is_read_as_before(
    opened: tuple[TestClient, Notes], header: str, status: int
) -> None:
    client, _ = opened
    tag = client.get(SHEET, params=ASK).headers["etag"]
    assert ask(client, header.replace("{tag}", tag)).status_code == status


def test_a_rollback_is_seen_at_once(opened: tuple[TestClient, Notes], gallery: Gallery) -> None:
    client, _ = opened
    tag = client.get(SHEET, params=ASK).headers["etag"]
    assert ask(client, tag).status_code == 304
    gallery.rollback("digits")
    assert ask(client, tag).status_code == 200


def test_a_version_that_is_asked_for_goes_through_the_route(
    opened: tuple[TestClient, Notes], gallery: Gallery, computed: Callable[[], int]
) -> None:
    client, _ = opened
    version = gallery.current("digits")
    tag = client.get(SHEET, params={**ASK, "version": version}).headers["etag"]
    computed()
    assert ask(client, tag, version=version).status_code == 304
    assert computed() == 1


def test_head_is_answered_and_noted_too(opened: tuple[TestClient, Notes]) -> None:
    client, notes = opened
    tag = client.get(SHEET, params=ASK).headers["etag"]
    answer = client.head(SHEET, params=ASK, headers={"If-None-Match": tag})
    assert (answer.status_code, answer.headers["etag"]) == (304, tag)
    assert (notes.traces[-1].method, notes.traces[-1].route) == (
        "HEAD",
        "/v1/models/{name}/generate",
    )
