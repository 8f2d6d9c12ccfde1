"""The address of the Jobs API: the one that is given, whatever the environment says."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import ray

from cluster.jobs import client
from cluster.main import entry
from unlearn.errors import BadInput

DEAD = "http://127.0.0.1:9"  # the discard port: nothing listens


class Dashboard(BaseHTTPRequestHandler):
    """Says its version, as a Ray dashboard does."""

    def do_GET(self) -> None:
        version = {"version": "4", "ray_version": ray.__version__, "ray_commit": "0"}
        answer = json.dumps(version).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *values: object) -> None:
        """Print nothing."""


@pytest.fixture
def dashboard() -> Iterator[str]:
    """The URL of a server that answers as a Ray dashboard."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Dashboard) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("variable", ["RAY_ADDRESS", "RAY_API_SERVER_ADDRESS"])
def test_a_given_address_wins_over_the_environment(
    variable: str, dashboard: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, DEAD)

    with client(dashboard) as jobs:
        assert jobs.get_address() == dashboard


def test_without_an_address_the_variable_counts(
    dashboard: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", dashboard)
    monkeypatch.setenv("RAY_ADDRESS", DEAD)

    with client(None) as jobs:
        assert jobs.get_address() == dashboard


@pytest.mark.parametrize(
    "address", ["foo", "auto", "ray://127.0.0.1:10001", "127.0.0.1:6379", "http://"]
)
def test_what_is_no_dashboard_is_refused_at_once(
    address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert entry(["status", "some-job", "--address", address]) == 2

    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(
        f"amnesia: the Jobs API is reached at the dashboard's URL, not at {address!r}"
    )


def test_a_missing_scheme_is_named() -> None:
    with (
        pytest.raises(BadInput, match=r"give an address like http://head:8265$"),
        client("head:8265"),
    ):
        pass
