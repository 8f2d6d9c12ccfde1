"""What the launcher refuses before it starts anything, and the application without a token."""

import importlib.util
import os
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from serve.api import build_app
from serve.catalog import Catalog
from serve.deployments import Settings, application
from serve.exposure import is_loopback, prefer_haproxy
from serve.launch import start
from serve.models import ModelCache
from tests.serve.conftest import LocalBackend
from unlearn.artifacts import Gallery
from unlearn.errors import BadInput


@pytest.mark.parametrize(
    "wrong",
    [
        *[
            {"port": 0},
            {"port": 65536},
            {"replicas": 0},
            {"cpus": 0},
            {"front_cpus": 0},
            {"gpus": -1},
        ],
        *[
            {"ongoing": 0},
            {"queued": 0},
            {"token": ""},
            {"token": "two words"},
            {"token": "naïve"},
            {"token": "a\nb"},
        ],
    ],
    ids=str,
)
def test_settings_out_of_range_cannot_exist(wrong: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match=next(iter(wrong))):
        Settings("gallery", **wrong)


def test_settings_never_show_the_token() -> None:
    assert "hunter2" not in repr(Settings("gallery", token="hunter2"))


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        *[("127.0.0.1", True), ("127.8.8.8", True), ("localhost", True), ("::1", True)],
        *[
            ("0.0.0.0", False),
            ("::", False),
            ("10.0.0.1", False),
            ("example.org", False),
            ("", False),
        ],
    ],
)
def test_loopback_is_told_from_the_world(host: str, loopback: bool) -> None:
    assert is_loopback(host) == loopback


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "example.org"])
def test_an_open_door_is_refused(made: Path, host: str) -> None:
    with pytest.raises(BadInput, match=f"host {host} can be reached by others.*AMNESIA_TOKEN"):
        start(Settings(str(made), host=host))


def test_a_gallery_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no gallery at"):
        start(Settings(str(tmp_path / "nowhere")))


def test_without_a_token_all_is_open_and_a_failure_is_told_in_json(made: Path) -> None:
    gallery = Gallery(str(made))
    with TestClient(build_app(Catalog(gallery), LocalBackend(ModelCache(gallery)), None)) as client:
        assert client.get("/v1/models/digits/generate", params={"label": 1}).status_code == 200


def test_an_unforeseen_failure_is_one_line_of_json(made: Path) -> None:
    class Failing(LocalBackend):
        async def missing(self) -> str | None:
            raise ZeroDivisionError("secret")

    gallery = Gallery(str(made))
    app = build_app(Catalog(gallery), Failing(ModelCache(gallery)), None)
    with TestClient(app, raise_server_exceptions=False) as client:
        answer = client.get("/healthz")
    assert (answer.status_code, "secret" in answer.text) == (500, False)
    assert answer.json()["error"].startswith("internal error")


@pytest.mark.parametrize(("host", "installed", "on"), [("0.0.0.0", True, True), ("0.0.0.0", False, False),
                                                       ("127.0.0.1", True, False), ("::1", True, False)])  # fmt: skip
def test_haproxy_opens_only_where_others_may_knock(
    host: str, installed: bool, on: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It shows its statistics on every interface."""
    monkeypatch.setattr(os, "environ", {})
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object() if installed else None)
    assert prefer_haproxy(host) == on
    assert ("RAY_SERVE_ENABLE_HA_PROXY" in os.environ) == on
    os.environ["RAY_SERVE_ENABLE_HA_PROXY"] = "0"
    assert not prefer_haproxy(host)


def test_the_token_itself_never_enters_ray() -> None:
    bound = application(Settings("gallery", token="hunter2"))._bound_deployment
    assert "hunter2" not in repr(
        [vars(part) if hasattr(part, "__dict__") else part for part in bound.init_args]
    )
    [settings] = [part for part in bound.init_args if isinstance(part, Settings)]
    assert settings.token is None
