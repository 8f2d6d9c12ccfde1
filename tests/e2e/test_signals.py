"""SIGHUP and Ctrl-C to a real run and all of its processes, as a closed terminal sends them.

`test_kill.py` sends SIGTERM, as SLURM does.
"""

import os
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from tests.e2e.conftest import Amnesia
from tests.e2e.rows import count_rows, wait_for_rows

SPEC = """
name: ended
models: [cnn]
method: fine-tune
forget: [[1]]
grid: {steps: [5, 6, 7, 100000]}
train: {steps: 20}
resources: {cells_per_trial: 1}
"""
ENDS_S = 10.0  # what a scheduler may leave, and what the contract promises


def started_processes(run: "subprocess.Popen[str]") -> list[psutil.Process]:
    return psutil.Process(run.pid).children(recursive=True)


def end_by(number: signal.Signals, run: "subprocess.Popen[str]") -> None:
    """Send a signal to all of a run: it ends in time, with one line, and leaves no process."""
    family = started_processes(run)
    assert family

    sent = time.monotonic()
    os.killpg(run.pid, number)
    output, _ = run.communicate(timeout=60)
    took = time.monotonic() - sent

    assert run.returncode == 128 + number, output
    assert took < ENDS_S
    last = output.strip().splitlines()[-1]
    assert last.endswith("; finished cells are kept, and the same command continues there")
    for noise in ("Traceback", "@ 0x", "SIGABRT", "***"):
        assert noise not in output
    _, alive = psutil.wait_procs(family, timeout=ENDS_S)
    assert not alive


@pytest.mark.cluster
@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT])
def test_a_run_ends_within_ten_seconds_and_leaves_no_ray(
    number: signal.Signals, amnesia: Amnesia, tmp_path: Path
) -> None:
    (tmp_path / "spec.yaml").write_text(SPEC)
    run = amnesia("run", "spec.yaml", cwd=tmp_path)
    wait_for_rows(tmp_path / "results", "ended", run, 1)
    end_by(number, run)
    assert count_rows(tmp_path / "results", "ended") >= 1
