"""What the launcher refuses before it starts anything, its second attempt, and the open service."""

import importlib.util
import os
from pathlib import Path
from typing import Any

import pytest
from ray import cloudpickle
from ray.exceptions import ActorDiedError, ActorUnavailableError
from starlette.testclient import TestClient

from serve.api import build_app
from serve.catalog import Catalog
from serve.deployments import ServiceSettings, application
from serve.exposure import is_loopback, prefer_haproxy
from serve.launch import start, try_twice
from serve.middleware import fingerprint
from serve.models import ModelCache
from tests.serve.conftest import LocalBackend
from unlearn.artifacts import Gallery
from unlearn.errors import BadInput


@pytest.mark.parametrize(
    "wrong",
    [
        {"port": 0},
        {"port": 65536},
        {"replicas": 0},
        {"cpus": 0},
        {"front_cpus": 0},
        {"gpus": -1},
        {"ongoing": 0},
        {"queued": 0},
        {"token": ""},
        {"token": "two words"},
        {"token": "naïve"},
        {"token": "a\nb"},
    ],
    ids=str,
)
def test_settings_out_of_range_cannot_exist(wrong: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match=next(iter(wrong))):
        ServiceSettings("gallery", **wrong)


def test_settings_never_show_the_token() -> None:
    assert "hunter2" not in repr(ServiceSettings("gallery", token="hunter2"))


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("localhost", True),
        ("::1", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.1", False),
        ("example.org", False),
        ("", False),
    ],
)
def test_loopback_is_recognised(host: str, loopback: bool) -> None:
    assert is_loopback(host) == loopback


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "example.org"])
def test_an_address_beyond_loopback_without_a_token_is_refused(made: Path, host: str) -> None:
    with pytest.raises(BadInput, match=f"host {host} can be reached by others.*AMNESIA_TOKEN"):
        start(ServiceSettings(str(made), host=host))


def test_a_gallery_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no gallery at"):
        start(ServiceSettings(str(tmp_path / "nowhere")))


def test_without_a_token_every_route_is_open(made: Path) -> None:
    gallery = Gallery(str(made))
    app = build_app(Catalog(gallery), LocalBackend(ModelCache(gallery)), None)
    with TestClient(app) as client:
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


@pytest.mark.parametrize(
    ("host", "installed", "on"),
    [
        ("0.0.0.0", True, True),
        ("0.0.0.0", False, False),
        ("127.0.0.1", True, False),
        ("::1", True, False),
    ],
)
def test_haproxy_listens_only_if_others_may_reach_the_service(
    host: str, installed: bool, on: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HAProxy publishes its statistics on every interface."""
    monkeypatch.setattr(os, "environ", {})
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object() if installed else None)
    assert prefer_haproxy(host) == on
    assert ("RAY_SERVE_ENABLE_HA_PROXY" in os.environ) == on
    os.environ["RAY_SERVE_ENABLE_HA_PROXY"] = "0"
    assert not prefer_haproxy(host)


def test_the_token_itself_never_enters_ray() -> None:
    shipped = cloudpickle.dumps(application(ServiceSettings("gallery", token="hunter2")))
    assert fingerprint("hunter2").encode() in shipped
    assert b"hunter2" not in shipped


class Flaky:
    """An attempt to start that fails a given number of times."""

    def __init__(self, failures: int, error: Exception) -> None:
        self.left = failures
        self.error = error
        self.calls = 0

    def __call__(self) -> None:
        self.calls += 1
        if self.left > 0:
            self.left -= 1
            raise self.error


LOST = [ActorDiedError(), ActorUnavailableError("gone", None), TimeoutError("no proxy\nin 60 s")]


@pytest.mark.parametrize("error", LOST, ids=lambda error: type(error).__name__)
def test_a_start_that_ray_breaks_off_is_tried_once_more(error: Exception) -> None:
    attempt = Flaky(1, error)
    try_twice(attempt)
    assert attempt.calls == 2


@pytest.mark.parametrize("error", LOST, ids=lambda error: type(error).__name__)
def test_a_second_failure_is_one_line_with_the_next_action(error: Exception) -> None:
    attempt = Flaky(2, error)
    with pytest.raises(BadInput, match=type(error).__name__) as caught:
        try_twice(attempt)
    assert attempt.calls == 2
    assert "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_wrong_input_is_not_tried_again() -> None:
    attempt = Flaky(1, BadInput("port in use"))
    with pytest.raises(BadInput, match="port in use"):
        try_twice(attempt)
    assert attempt.calls == 1
