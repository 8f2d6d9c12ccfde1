"""What waits in place of `amnesia serve`: it ends the processes below it, and says why."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[2]
# Stands for `amnesia serve`: starts what is Ray's head, one process below the other, and becomes
# the program under test.
SERVICE = """
import subprocess, sys
from cluster.keep_serving import become_this

head = subprocess.Popen([sys.executable, "-c", sys.argv[2]], stdout=subprocess.PIPE)
head.stdout.readline()
subprocess.Popen(["sleep", "0.5"])  # as an orphan that process 1 of a container is given
print("serving", flush=True)
become_this(sys.argv[1], [head.pid])
"""
HEAD = """
import signal, subprocess, sys
subprocess.Popen(["sleep", "600"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
{first}
print("up", flush=True)
signal.pause()
"""
STUBBORN = "signal.signal(signal.SIGTERM, signal.SIG_IGN)"


class Service:
    """A running one.

    process: its root
    below: the processes of its head
    """

    def __init__(self, folder: Path, first: str = "") -> None:
        folder.mkdir()
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVICE, str(folder), HEAD.format(first=first)],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "serving\n"
        own = psutil.Process(self.process.pid)
        wait_for(lambda: "keep_serving" in " ".join(own.cmdline()))
        wait_for(lambda: len(own.children()) == 1)  # the other child has ended, and changes nothing
        self.below = own.children(recursive=True)

    def result(self) -> tuple[int, str, list[bool]]:
        """Wait for its end; return the exit code, its line, and which processes are left."""
        _, line = self.process.communicate(timeout=30)
        gone, alive = psutil.wait_procs(self.below, timeout=5)
        assert len(gone) + len(alive) == 2
        return self.process.returncode, line.strip(), [bool(left) for left in alive]


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("number", "code", "line"),
    [
        (signal.SIGINT, 130, "amnesia: interrupted"),
        (signal.SIGTERM, 143, "amnesia: ended by SIGTERM"),
        (signal.SIGHUP, 129, "amnesia: ended by SIGHUP"),
    ],
)
def test_a_signal_ends_everything(
    tmp_path: Path, number: signal.Signals, code: int, line: str
) -> None:
    service = Service(tmp_path / "haproxy")
    service.process.send_signal(number)
    assert service.result() == (code, line, [])
    assert not (tmp_path / "haproxy").exists()


def test_what_does_not_end_is_killed(tmp_path: Path) -> None:
    service = Service(tmp_path / "haproxy", STUBBORN)
    began = time.monotonic()
    service.process.terminate()
    assert service.result() == (143, "amnesia: ended by SIGTERM", [])
    assert 3 < time.monotonic() - began < 10


def test_a_second_ctrl_c_waits_no_longer(tmp_path: Path) -> None:
    service = Service(tmp_path / "haproxy", STUBBORN)
    began = time.monotonic()
    service.process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    service.process.send_signal(signal.SIGINT)
    assert service.result() == (130, "amnesia: interrupted", [])
    assert time.monotonic() - began < 3


def test_it_says_that_ray_has_ended(tmp_path: Path) -> None:
    service = Service(tmp_path / "haproxy")
    [head] = psutil.Process(service.process.pid).children()
    head.kill()
    code, line, left = service.result()
    assert (code, line) == (1, "amnesia: the service's Ray has ended; start it again")
    assert len(left) == 1  # had the head been Ray's, its children would have seen its end
    service.below[-1].kill()
