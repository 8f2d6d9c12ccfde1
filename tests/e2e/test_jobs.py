"""submit, status, logs, stop: through the Jobs API of a real Ray head that asks for a token."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest

from cluster.own import PACKAGES
from tests.cluster.test_own import impostors
from tests.e2e.conftest import Amnesia, environment
from tests.e2e.terminal import Ended, Terminal

SPEC = """
name: as-a-job
models: [cnn]
method: fine-tune
forget: [[1]]
grid: {steps: [5, 10]}
train: {steps: 40}
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True)
class Head:
    """A running head: the address of its Jobs API, and a terminal that knows its token."""

    address: str
    terminal: Terminal

    def amnesia(self, *arguments: str, cwd: Path) -> Ended:
        """Run `amnesia ARGUMENTS` against this head."""
        return self.terminal.run(*arguments, "--address", self.address, cwd=cwd, timeout=240)

    def wait_for(self, job: str, *states: str, cwd: Path) -> str:
        """The job's status, once it is one of `states`."""
        deadline = time.monotonic() + 240
        while time.monotonic() < deadline:
            status = self.amnesia("status", job, cwd=cwd).out.strip()
            if status.startswith(states):
                return status
            time.sleep(1)
        logs = self.amnesia("logs", job, cwd=cwd).out
        pytest.fail(f"{job} is {status}, not one of {states}\n{logs}")


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    """A head of our own on free ports, with a token."""
    token = tmp_path_factory.mktemp("head") / "token"
    token.write_text("a-token-of-this-test-0123456789abcdef")
    asked = {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_GRAFANA_HOST": "",
        "RAY_ADDRESS": "",
    }
    dashboard = free_port()
    theirs = impostors(tmp_path_factory.mktemp("theirs"), *PACKAGES)
    process = subprocess.Popen(
        start_command(dashboard),
        env=head_environment(asked, theirs),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        wait_until_up(dashboard)
        scratch = tmp_path_factory.mktemp("terminal")
        with closing(Terminal(scratch, {**environment(), **asked}, ray=False)) as terminal:
            yield Head(f"http://127.0.0.1:{dashboard}", terminal)
    finally:
        process.terminate()
        process.wait(timeout=60)


def start_command(dashboard: int) -> list[str]:
    return [
        str(Path(sys.executable).with_name("ray")),
        "start",
        "--head",
        f"--port={free_port()}",
        "--dashboard-host=127.0.0.1",
        f"--dashboard-port={dashboard}",
        # a local Ray of another test has the default one
        f"--dashboard-agent-listen-port={free_port()}",
        "--include-dashboard=true",
        "--num-cpus=1",  # a second worker would only import torch too
        "--disable-usage-stats",
        "--block",
    ]


def head_environment(asked: dict[str, str], modules: Path) -> dict[str, str]:
    """As a head has it: our code is not installed there, and a job's `python` is ours.

    modules: a folder of the head's user, whose modules have the names of ours
    """
    here = str(Path(sys.executable).parent)
    path = f"{here}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, **asked, "PATH": path, "PYTHONPATH": str(modules)}


def wait_until_up(port: int) -> None:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.3)
    pytest.fail("the head did not come up within 90 s")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the spec lies, and jobs write."""
    (tmp_path / "spec.yaml").write_text(SPEC)
    return tmp_path


BUILDER = """
from torch import nn


def small(classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(784, classes))
"""


def test_a_job_from_submission_to_rows(head: Head, folder: Path) -> None:
    """With a builder that only the job carries; followed to its end."""
    (folder / "mine").mkdir()
    (folder / "mine" / "jobs_builders.py").write_text(BUILDER)
    options = ["--follow", "--name", "sweep-of-mine", "--with", "mine", "--env", "SOME=thing"]
    changes = ["--set", "seeds=[3]", "--set", "models=['jobs_builders:small']"]
    submitted = head.amnesia("submit", "spec.yaml", *changes, *options, cwd=folder)
    assert submitted.code == 0, submitted
    job, *log = submitted.out.splitlines()
    assert job == "sweep-of-mine"
    assert "mine: 0.1 kB" in submitted.err
    assert any(line.startswith("cells: 2 of 2 cells, 0 failed, 0 left") for line in log)
    assert any(line.startswith("done: 2 cells") for line in log)
    state, progress = head.amnesia("status", job, cwd=folder).out.splitlines()
    assert state.startswith("SUCCEEDED")
    assert progress == "as-a-job: 2 done, 0 failed, 0 left"
    rows = pd.read_parquet(folder / "results" / "v1")
    assert sorted(rows["steps"]) == [5, 10]
    assert set(rows["seed"]) == {3}


def test_a_job_can_be_stopped(head: Head, folder: Path) -> None:
    long = ["--set", "grid.steps=[100000]"]
    job = head.amnesia("submit", "spec.yaml", *long, cwd=folder).out.strip()
    head.wait_for(job, "RUNNING", cwd=folder)
    assert head.amnesia("stop", job, cwd=folder).out.strip() == "stopping"
    status = head.wait_for(job, "STOPPED", "FAILED", "SUCCEEDED", cwd=folder)
    assert status.startswith("STOPPED")


@pytest.mark.parametrize(
    "arguments",
    [
        ["status", "no-such-job"],
        ["logs", "no-such-job"],
        ["stop", "no-such-job"],
        ["submit", "spec.yaml", "--set", "models=[vae]"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_refusals_are_one_line(arguments: list[str], head: Head, folder: Path) -> None:
    run = head.amnesia(*arguments, cwd=folder)
    assert run.code == 2, run
    assert run.err.startswith("amnesia: ")
    assert len(run.err.strip().splitlines()) == 1


def test_a_stranger_is_refused(amnesia: Amnesia, head: Head, tmp_path: Path) -> None:
    """In a process of its own, as Ray reads a token once."""
    token = tmp_path / "none"
    token.write_text("another-token-that-is-not-the-heads")
    stranger = {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_ADDRESS": "",
        "HOME": str(tmp_path),
    }
    asked = ["status", "no-such-job", "--address", head.address]
    run = amnesia(*asked, cwd=tmp_path, **stranger)
    output, _ = run.communicate(timeout=240)
    assert run.returncode == 2
    assert "refused the token" in output
    assert len(output.strip().splitlines()) == 1
