"""The environment of a Ray that we start ourselves, and a start that fails. No Ray runs here."""

import os
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import ray

from cluster import ray_session as sessions
from cluster.ray_session import LOCAL_RAY, PRELOAD, ray_session
from cluster.signals import interruptible
from unlearn.errors import BadInput

LATE = "The current node timed out during startup.\nSee the logs."


class FakeRay:
    """Stands in for `ray.init` and `ray.shutdown`; the first `failures` starts fail."""

    def __init__(self, failures: int = 0, says: str = LATE) -> None:
        self.failures, self.says = failures, says
        self.starts: list[dict[str, Any]] = []
        self.environments: list[dict[str, str]] = []

    def init(self, **options: Any) -> None:
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(number))  # as Ray does
        self.starts.append(options)
        self.environments.append(dict(os.environ))
        if len(self.starts) <= self.failures:
            raise Exception(self.says)

    def shutdown(self) -> None:
        pass


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Callable[..., FakeRay]:
    """Replace Ray, and give the process an empty environment plus the given variables."""

    def replace(failures: int = 0, says: str = LATE, **environment: str) -> FakeRay:
        stand_in = FakeRay(failures, says)
        monkeypatch.setattr(ray, "init", stand_in.init)
        monkeypatch.setattr(ray, "shutdown", stand_in.shutdown)
        monkeypatch.setattr(os, "environ", environment)
        return stand_in

    return replace


@pytest.mark.parametrize("address", [None, "local"])
def test_a_local_ray_starts_in_our_environment(
    address: str | None, fake: Callable[..., FakeRay]
) -> None:
    stand_in = fake()
    with ray_session(address) as joined:
        assert joined is None
    [environment] = stand_in.environments
    assert environment["RAY_worker_niceness"] == "0"
    assert environment["RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S"] == "60"


@pytest.mark.parametrize(
    ("cores", "imported", "built", "preloaded"),
    [
        (2, ["torchvision"], ["timm"], None),  # the work itself wants them
        (16, [], [], "sweeps.run.prepare,sweeps.run.trial"),
        (16, ["torchvision"], [], "sweeps.run.prepare,sweeps.run.trial,torchvision"),
        (16, [], ["", "torchvision"], "sweeps.run.prepare,sweeps.run.trial,torchvision"),
        (64, ["torchvision"], ["timm"], None),
    ],
)
def test_waiting_workers_import_what_planning_imported_and_what_the_sweep_builds(
    cores: int,
    imported: list[str],
    built: list[str],
    preloaded: str | None,
    fake: Callable[..., FakeRay],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stand_in = fake()
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    for name in ("torchvision", "timm"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    for name in imported:
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    with ray_session(None, libraries=built):
        assert PRELOAD not in os.environ
    assert stand_in.environments[0].get(PRELOAD) == preloaded


def test_among_namesakes_waiting_workers_import_nothing(
    fake: Callable[..., FakeRay], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even what the environment asks for: it may come from a service that started this."""
    stand_in = fake(**{PRELOAD: "serve.lean"})
    monkeypatch.setattr(sessions, "namesakes", lambda name: ["theirs"])
    with ray_session(None):
        pass
    assert PRELOAD not in stand_in.environments[0]
    assert os.environ[PRELOAD] == "serve.lean"


@pytest.mark.parametrize("name", LOCAL_RAY)
def test_a_variable_that_the_user_has_set_wins(fake: Callable[..., FakeRay], name: str) -> None:
    stand_in = fake(**{name: "7"})
    with ray_session(None):
        pass
    [environment] = stand_in.environments
    assert environment[name] == "7"


def test_the_workers_of_the_service_import_ray_serve_while_they_wait(
    fake: Callable[..., FakeRay],
) -> None:
    stand_in = fake()
    with ray_session(None, service=True):
        pass
    [environment] = stand_in.environments
    assert environment["RAY_preload_python_modules"] == "serve.lean"


@pytest.mark.parametrize("service", [False, True])
def test_a_ray_that_lacks_private_names_starts_and_says_so_in_one_line_each(
    service: bool,
    fake: Callable[..., FakeRay],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    stand_in = fake()
    monkeypatch.delattr(ray._private.node, "Node")
    monkeypatch.delattr(ray._private.worker, "_worker_logs_enabled")
    with ray_session(None, service=service):
        assert len(stand_in.starts) == 1
    helpers, logs = capsys.readouterr().err.splitlines()
    assert "has no ray._private.node.Node.start_monitor: Ray starts with" in helpers
    assert "has no ray._private.worker._worker_logs_enabled: its processes" in logs


@pytest.mark.parametrize("service", [False, True])
def test_a_local_ray_leaves_out_those_helpers_that_it_has(
    service: bool,
    fake: Callable[..., FakeRay],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fake()
    kind: Any = ray._private.node.Node
    own = kind.start_monitor
    monkeypatch.delattr(kind, "start_api_server")
    used: list[Any] = []
    monkeypatch.setattr(ray, "init", lambda **_: used.append(kind.start_monitor))
    with ray_session(None, service=service):
        assert used[0]() is None  # does nothing
    assert kind.start_monitor is own is not used[0]
    [line] = capsys.readouterr().err.splitlines()
    assert "has no ray._private.node.Node.start_api_server" in line


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
    assert "let other work end" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_workers_import_our_packages_first_where_others_have_their_names(
    fake: Callable[..., FakeRay], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in = fake()
    addresses = [None, "10.0.0.1:6379", "ray://10.0.0.1:10001"]
    (tmp_path / "unlearn").mkdir()
    for folder in (Path.cwd(), tmp_path):
        monkeypatch.chdir(folder)
        for address in addresses:
            with ray_session(address):
                pass

    keys = [sorted(start.get("runtime_env", {})) for start in stand_in.starts]

    hook, shipped = "worker_process_setup_hook", ["excludes", "py_modules"]
    assert keys[:3] == [[], shipped, shipped]
    assert keys[3:] == [[hook], [*shipped, hook], shipped]


def test_a_long_temporary_folder_is_not_ray_s(
    fake: Callable[..., FakeRay],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sessions, "SHORT_FOLDER", str(tmp_path))
    stand_in = fake(TMPDIR="/" + 69 * "t")
    with ray_session(None):
        pass
    [environment] = stand_in.environments
    short = tmp_path / f"amnesia-{os.getuid()}"
    assert environment["RAY_TMPDIR"] == str(short)
    assert short.stat().st_mode & 0o777 == 0o700
    assert f"Ray writes to {short} (RAY_TMPDIR changes it)" in capsys.readouterr().err


@pytest.mark.parametrize(
    "environment",
    [{}, {"TMPDIR": 39 * "t"}, {"TMPDIR": 70 * "t", "RAY_TMPDIR": "/r"}],
)
def test_a_short_temporary_folder_stays(
    environment: dict[str, str], fake: Callable[..., FakeRay]
) -> None:
    stand_in = fake(**environment)
    with ray_session(None):
        pass
    [found] = stand_in.environments
    assert {name: found[name] for name in ("TMPDIR", "RAY_TMPDIR") if name in found} == environment


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({"RAY_TMPDIR": 70 * "t"}, "is too long for Ray's sockets; give a folder of at most 39"),
        ({"TMPDIR": 70 * "t"}, "is not ours to write; set RAY_TMPDIR to a folder of at most 39"),
    ],
)
def test_without_a_short_folder_it_is_one_line(
    environment: dict[str, str],
    says: str,
    fake: Callable[..., FakeRay],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sessions, "SHORT_FOLDER", "/dev/null")
    stand_in = fake(**environment)
    with pytest.raises(BadInput, match=re.escape(says)), ray_session(None):
        pass
    assert stand_in.starts == []


@pytest.mark.parametrize(
    ("says", "remedy"),
    [
        ("bind: Address already in use", "end what holds that port"),
        ("Ray component x is trying to use port 1 that is in use by other components", "--address"),
        ("[Errno 13] Permission denied: '/tmp/ray'", "set RAY_TMPDIR to a folder of your own"),
        ("[Errno 28] No space left on device", "free space there"),
        ("something else", "session_latest/logs tell more"),
    ],
)
def test_where_time_is_not_the_reason_there_is_no_second_try(
    says: str, remedy: str, fake: Callable[..., FakeRay]
) -> None:
    stand_in = fake(failures=1, says=says)
    with pytest.raises(BadInput, match=re.escape(remedy)), ray_session(None):
        pass
    assert len(stand_in.starts) == 1


def test_our_handler_of_sigterm_outlives_the_start_of_ray(fake: Callable[..., FakeRay]) -> None:
    fake()
    before = signal.getsignal(signal.SIGTERM)
    with ray_session(None):
        assert signal.getsignal(signal.SIGTERM) is before


def test_a_sigterm_while_ray_starts_is_ours(
    fake: Callable[..., FakeRay], monkeypatch: pytest.MonkeyPatch
) -> None:
    fake()
    starting = ray.init

    def init(**options: Any) -> None:
        starting(**options)
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(ray, "init", init)
    with pytest.raises(KeyboardInterrupt), interruptible("") as ended, ray_session(None):
        pass
    assert ended.exit_code == 143
