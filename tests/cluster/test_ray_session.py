"""The environment of a Ray that we start ourselves, and a start that fails. No Ray runs here."""

import os
from collections.abc import Callable
from typing import Any

import pytest
import ray

from cluster.ray_session import LOCAL_RAY, ray_session
from unlearn.errors import BadInput


class FakeRay:
    """Stands in for `ray.init` and `ray.shutdown`; the first `failures` starts fail."""

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.starts: list[dict[str, Any]] = []
        self.environments: list[dict[str, str]] = []

    def init(self, **options: Any) -> None:
        self.starts.append(options)
        self.environments.append(dict(os.environ))
        if len(self.starts) <= self.failures:
            raise Exception("The current node timed out during startup.\nSee the logs.")

    def shutdown(self) -> None:
        pass


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Callable[..., FakeRay]:
    """Replace Ray, and give the process an empty environment plus the given variables."""

    def replace(failures: int = 0, **environment: str) -> FakeRay:
        stand_in = FakeRay(failures)
        monkeypatch.setattr(ray, "init", stand_in.init)
        monkeypatch.setattr(ray, "shutdown", stand_in.shutdown)
        monkeypatch.setattr(os, "environ", environment)
        return stand_in

    return replace


def test_a_local_ray_starts_in_our_environment(fake: Callable[..., FakeRay]) -> None:
    stand_in = fake()
    with ray_session(None) as joined:
        assert joined is None
    [environment] = stand_in.environments
    assert environment["RAY_worker_niceness"] == "0"
    assert environment["RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S"] == "60"


@pytest.mark.parametrize("name", LOCAL_RAY)
def test_a_variable_that_the_user_has_set_wins(fake: Callable[..., FakeRay], name: str) -> None:
    stand_in = fake(**{name: "7"})
    with ray_session(None):
        pass
    [environment] = stand_in.environments
    assert environment[name] == "7"


def test_joining_a_ray_sets_nothing_for_its_workers(fake: Callable[..., FakeRay]) -> None:
    stand_in = fake()
    with ray_session("10.0.0.1:6379") as joined:
        assert joined == "10.0.0.1:6379"
    [environment] = stand_in.environments
    assert not environment.keys() & LOCAL_RAY.keys()


def test_a_local_ray_that_does_not_come_up_is_started_once_more(
    fake: Callable[..., FakeRay],
) -> None:
    stand_in = fake(failures=1)
    with ray_session(None):
        pass
    assert [start["address"] for start in stand_in.starts] == ["local", "local"]


def test_a_second_failure_is_one_line(fake: Callable[..., FakeRay]) -> None:
    stand_in = fake(failures=2)
    with (
        pytest.raises(BadInput, match="no Ray starts on this machine") as caught,
        ray_session(None),
    ):
        pass
    assert len(stand_in.starts) == 2
    assert "timed out during startup" in str(caught.value)
    assert "\n" not in str(caught.value)
