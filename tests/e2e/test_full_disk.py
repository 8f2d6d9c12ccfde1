"""Disks that fill up, or turn read-only, while a sweep runs: it stops at once and goes on later."""

import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest

from tests.e2e.conftest import Amnesia
from tests.e2e.rows import count_rows, wait_for_rows
from tests.e2e.small_disk import SmallDisk, missing, small_disk

SPEC = """
name: full
models: [cnn]
method: fine-tune
forget: [[1]]
grid: {steps: [40, 41, 42, 43, 44, 45, 46, 47, 48, 49], lr: [1.0e-4, 1.0e-3]}
train: {steps: 20}
resources: {cells_per_trial: 1}
"""
PLANNED = 20
STOPS_S = 60.0  # on a busy machine; the cells that are left take minutes
pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(bool(missing()), reason=missing()),
]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """A disk of 64 MB at `disk` in the folder of the test, beside the spec."""
    (tmp_path / "spec.yaml").write_text(SPEC)
    with small_disk(tmp_path / "disk", "64m") as mounted:
        yield mounted


def until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def check_stop(run: "subprocess.Popen[str]", reason: str) -> None:
    """The run ends soon, by exit code 2, with one line that says why."""
    began = time.monotonic()
    output, _ = run.communicate(timeout=300)
    assert time.monotonic() - began < STOPS_S
    assert run.returncode == 2, output
    told = [line for line in output.splitlines() if "cannot write" in line]
    assert told == output.strip().splitlines()[-1:], output
    assert told[0].startswith("amnesia: cannot write ")
    assert f": {reason}; choose a writable place with room" in told[0]
    assert "Traceback" not in output
    assert "warning" not in output


def check_finished(run: "subprocess.Popen[str]", results: Path, kept: int) -> None:
    """The same command computed the rest, and every cell has one good row."""
    output, _ = run.communicate(timeout=600)
    assert run.returncode == 0, output
    assert f"done: {PLANNED - kept} cells" in output
    table = pd.read_parquet(results / "v1")
    assert len(table) == PLANNED == table["cell_id"].nunique()
    assert set(table["status"]) == {"ok"}


@pytest.mark.parametrize(
    ("reason", "full"),
    [("No space left on device", True), ("Read-only file system", False)],
    ids=["full", "read-only"],
)
def test_results_that_cannot_be_written_stop_the_run(
    reason: str, full: bool, disk: SmallDisk, amnesia: Amnesia, tmp_path: Path
) -> None:
    results = disk.folder / "results"
    command = ["run", "spec.yaml", "--results", str(results)]
    run = amnesia(*command, cwd=tmp_path)
    wait_for_rows(results, "full", run, 2)
    if full:
        disk.fill()
    else:
        until(disk.read_only)
    check_stop(run, reason)
    kept = count_rows(results, "full")
    assert 2 <= kept < PLANNED

    again = amnesia(*command, cwd=tmp_path)  # nobody has made room
    output, _ = again.communicate(timeout=300)
    assert again.returncode == 2, output
    assert len(output.strip().splitlines()) == 1, output
    assert reason in output

    if full:
        disk.empty()
    else:
        assert disk.read_only(False)
    check_finished(amnesia(*command, cwd=tmp_path), results, kept)


def test_a_store_that_cannot_be_written_stops_the_run(
    disk: SmallDisk, amnesia: Amnesia, tmp_path: Path
) -> None:
    disk.fill()
    command = ["run", "spec.yaml", "--store", str(disk.folder / "store")]
    check_stop(amnesia(*command, cwd=tmp_path), "No space left on device")
    assert count_rows(tmp_path / "results", "full") == 0  # no cell failed for it

    disk.empty()
    check_finished(amnesia(*command, cwd=tmp_path), tmp_path / "results", 0)
