"""The service and a sweep start beside two busy loops, as on a machine that others use too.

These tests lie in this folder because all of its tests run one after another in one process, so
that the loops slow down no other test of the service.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pandas as pd
import psutil
import pytest

from tests.serve.ports import free_port

SPEC = """
name: busy
models: [cnn]
method: fine-tune
forget: [[1]]
unlearn: {steps: 5}
train: {steps: 20}
"""


@pytest.fixture
def busy_loops() -> Iterator[None]:
    """Two processes that take all the CPU time they get, at this process's own priority."""
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2)]
    yield
    for loop in loops:
        loop.kill()
        loop.wait()


def amnesia(*arguments: str, cwd: Path) -> subprocess.Popen[str]:
    """Start `amnesia ...` with the environment of a user who has set nothing of Ray's."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment["PYTHONPATH"] = str(Path(__file__).parents[2])
    return subprocess.Popen(
        [sys.executable, "-m", "cluster", *arguments],
        cwd=cwd,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def workers(driver: int) -> list[psutil.Process]:
    """Return the worker processes of a driver's own Ray."""
    children = psutil.Process(driver).children(recursive=True)
    return [child for child in children if " ".join(child.cmdline()).startswith("ray::")]


def test_the_service_starts_beside_two_busy_loops(
    made: Path, busy_loops: None, tmp_path: Path
) -> None:
    port = free_port()
    run = amnesia("serve", "--gallery", str(made), "--port", str(port), cwd=tmp_path)
    assert run.stdout is not None
    try:
        line = run.stdout.readline()
        assert line.startswith("serving "), line + run.stdout.read()
        answer = httpx.get(f"http://127.0.0.1:{port}/healthz", timeout=60)
        assert answer.json() == {"status": "ok"}
        replicas = [worker for worker in workers(run.pid) if "Replica" in worker.cmdline()[0]]
        assert len(replicas) == 1  # it speaks HTTP and runs the models
        assert {worker.nice() for worker in workers(run.pid)} == {psutil.Process().nice()}
        run.terminate()
        assert run.wait(timeout=60) == 143
    finally:
        if run.poll() is None:
            os.killpg(run.pid, signal.SIGKILL)
        run.stdout.close()


@pytest.mark.cluster
def test_a_small_sweep_ends_beside_two_busy_loops(busy_loops: None, tmp_path: Path) -> None:
    """Its Ray starts as the service's does, whose workers' priority is read above."""
    (tmp_path / "spec.yaml").write_text(SPEC)
    run = amnesia("run", "spec.yaml", cwd=tmp_path)
    try:
        output, _ = run.communicate(timeout=540)
    finally:
        if run.poll() is None:
            os.killpg(run.pid, signal.SIGKILL)
    assert run.returncode == 0, output
    rows = pd.read_parquet(tmp_path / "results" / "v1")
    assert rows["status"].tolist() == ["ok"]
