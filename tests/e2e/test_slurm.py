"""`cluster/deploy/slurm.sh` on a real SLURM: told to end, queued again, finished from its rows."""

import os
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sweeps.rows.results import Results
from tests.e2e import slurm
from tests.e2e.raylets import free_port
from tests.e2e.rows import count_rows
from tests.e2e.terminal import ROOT

SPEC = """
name: queued
models: [cnn]
method: fine-tune
forget: [[1]]
grid: {steps: [5, 6, 7, 8, 3000]}
train: {steps: 20}
resources: {cells_per_trial: 1}
"""
PLANNED = 5
pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(bool(slurm.missing()), reason=f"no {', '.join(slurm.missing())} here"),
    pytest.mark.skipif(os.geteuid() != 0, reason="slurmd wants to be root"),
]


@pytest.fixture
def machine() -> Iterator[slurm.Slurm]:
    """A SLURM in a folder with a short name: a socket's path holds 107 characters."""
    with (
        tempfile.TemporaryDirectory(prefix="slurm-", dir="/tmp") as folder,
        slurm.one_node(Path(folder)) as running,
    ):
        yield running


def wait(machine: slurm.Slurm, job: str, folder: Path, state: str, n: int) -> None:
    """Wait until the job is in a state and there are `n` rows."""
    deadline = time.monotonic() + 400
    while True:
        now, rows = machine.state(job), count_rows(folder / "results", "queued")
        if now == state and rows >= n:
            return
        log = "".join(path.read_text() for path in folder.glob("*.log"))
        assert time.monotonic() < deadline, f"{now}, {rows} rows\n{log}"
        time.sleep(1)


def test_a_job_that_is_told_to_end_goes_on_from_its_rows(
    machine: slurm.Slurm, tmp_path: Path
) -> None:
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    command = bin_folder / "amnesia"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m cluster "$@"\n')
    command.chmod(0o755)
    (tmp_path / "spec.yaml").write_text(SPEC)
    path = os.pathsep.join([str(bin_folder), str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {
        "PATH": path,
        "PYTHONPATH": str(ROOT),
        "AMNESIA_RAY_PORT": str(free_port()),
        "RAY_AUTH_MODE": "disabled",
        "RAY_ADDRESS": "",
    }

    script = str(ROOT / "cluster" / "deploy" / "slurm.sh")
    submit = ["sbatch", "--parsable", f"--chdir={tmp_path}", script, "spec.yaml"]
    job = machine.command(*submit, **environment)
    wait(machine, job, tmp_path, "RUNNING", 1)
    machine.command("scancel", "--batch", "--signal=TERM", job)  # as before the time limit
    wait(machine, job, tmp_path, "PENDING", 1)
    log = (tmp_path / f"amnesia-{job}.log").read_text()
    assert "amnesia: ended by SIGTERM; finished cells are kept" in log
    assert "queued again" in log
    assert "Traceback" not in log

    machine.command("scontrol", "update", f"jobid={job}", "StartTime=now")
    wait(machine, job, tmp_path, "COMPLETED", PLANNED)
    log = (tmp_path / f"amnesia-{job}.log").read_text()
    [computed] = re.findall(r"done: (\d+) cells", log)
    assert int(computed) < PLANNED  # the second run computed only the rest
    after = Results(str(tmp_path / "results")).read("queued")
    assert len(after) == PLANNED == after["cell_id"].nunique()
    assert set(after["status"]) == {"ok"}
