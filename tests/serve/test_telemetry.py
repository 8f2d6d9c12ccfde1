"""The access log and what the metrics are given, request by request."""

import json
import time
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from serve.api import build_app
from serve.catalog import Catalog
from serve.metrics import outcome
from serve.models import ModelCache
from serve.trace import Trace
from tests.serve.conftest import LocalBackend
from unlearn.gallery import Gallery

SHEET = "/v1/models/digits/generate"


class Notes:
    """A meter that keeps what it is given."""

    def __init__(self) -> None:
        self.traces: list[Trace] = []

    def count(self, trace: Trace) -> None:
        self.traces.append(trace)


def test_each_request_is_a_line_of_json_and_a_count(
    made: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gallery, notes = Gallery(str(made)), Notes()
    app = build_app(Catalog(gallery), LocalBackend(ModelCache(gallery)), None, meter=notes)
    with TestClient(app) as client:
        sheet = client.get(SHEET, params={"label": 1, "n": 3}, headers={"X-Request-ID": "mine"})
        client.get(SHEET, params={"label": 99})
        client.get("/v1/models/nobody/generate")
        client.get("/elsewhere/4711")
        time.sleep(0.5)  # lines are written together
        client.get("/healthz")
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["status"] for line in lines[:4]] == [200, 422, 404, 404]
    first = lines[0]
    assert (first["request_id"], first["path"], first["variant"]) == ("mine", SHEET, "amnesiac")
    assert (first["images"], first["bytes_out"]) == (3, len(sheet.content))
    assert first["version"] == gallery.current("digits")
    assert len({line["request_id"] for line in lines[:4]}) == 4
    counted = notes.traces[:4]
    assert [trace.model for trace in counted] == ["digits", "digits", "", ""]
    assert counted[0].route == "/v1/models/{name}/generate"
    assert counted[3].route == ""  # a client's own path is no label


@pytest.mark.parametrize(
    ("status", "name"),
    [
        (200, "ok"),
        (304, "not_modified"),
        (422, "refused"),
        (429, "busy"),
        (408, "slow_body"),
        (504, "late"),
        (500, "error"),
        (499, "client_gone"),
    ],
)
def test_outcomes_have_names(status: int, name: str) -> None:
    assert outcome(status) == name
