"""The service and a sweep start beside two busy loops, as on a machine that others use too.

The loops take CPU time from every other test, so that `make test-cluster` runs these. Beside no
loops, `tests/e2e/test_sweep.py` starts a service and reads its processes' priority.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pandas as pd
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
LOOP = """
import os

parent = os.getppid()
while os.getppid() == parent:
    pass
"""
pytestmark = pytest.mark.cluster


@pytest.fixture
def busy_loops() -> Iterator[None]:
    """Two processes that take all the CPU time they get, at this process's own priority.

    They end with this process, however it ends.
    """
    loops = [subprocess.Popen([sys.executable, "-c", LOOP]) for _ in range(2)]
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
        run.terminate()
        assert run.wait(timeout=60) == 143
    finally:
        if run.poll() is None:
            os.killpg(run.pid, signal.SIGKILL)
        run.stdout.close()


def test_a_small_sweep_ends_beside_two_busy_loops(busy_loops: None, tmp_path: Path) -> None:
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
