"""The rows of a run that goes on."""

import subprocess
import time
from pathlib import Path

from sweeps.rows.results import Results

ROWS_S = 300.0  # seconds that a run has to write its first rows on a busy machine


def count_rows(results: Path, sweep: str) -> int:
    """How many cells of the sweep have a row, folded or not."""
    found = Results(str(results))
    return len(found.read(sweep)) if sweep in found.sweeps() else 0


def wait_for_rows(results: Path, sweep: str, run: "subprocess.Popen[str]", n: int) -> None:
    """Wait until at least `n` cells have a row; the run must not end before."""
    deadline = time.monotonic() + ROWS_S
    while count_rows(results, sweep) < n:
        assert run.poll() is None, run.communicate()[0]
        assert time.monotonic() < deadline, f"no {n} rows within {ROWS_S:.0f} s"
        time.sleep(0.1)
