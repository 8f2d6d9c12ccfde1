"""SIGTERM to a run, SIGKILL to its driver, a worker, all of Ray: the planned rows, no others."""

import contextlib
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pandas as pd
import psutil
import pytest

from sweeps.rows.results import Results
from tests.e2e.conftest import Amnesia
from tests.e2e.test_signals import end_by

SPEC = """
name: killed
models: [cvae-mlp]
method: selective-amnesia
forget: [[0], [1]]
grid: {lam: [1, 2, 3, 5, 7, 10, 20, 30, 50, 70, 100, 200]}
unlearn: {steps: 40}
train: {steps: 60, fisher_samples: 500, judge_steps: 30}
eval: {samples: 30, judges: 1}
"""
PLANNED = 24
WITHOUT_RAY_S = 20  # for the end of a run whose Ray is gone: it may wait for minutes


def rows_of(folder: Path) -> pd.DataFrame:
    """The rows that are durable at this moment, folded or not."""
    results = Results(str(folder / "results"))
    if "killed" not in results.sweeps():
        return pd.DataFrame({"cell_id": [], "created_at": []})
    return results.read("killed", ["status"])


def family(run: "subprocess.Popen[str]", *names: str) -> list[psutil.Process]:
    """The run's child processes whose command line holds one of the names."""
    found = []
    for child in psutil.Process(run.pid).children(recursive=True):
        try:
            if any(name in " ".join(child.cmdline()) for name in names):
                found.append(child)
        except psutil.NoSuchProcess:
            continue
    return found


def files_of(folder: Path) -> dict[Path, int]:
    """Every file of the results, with the time of its last change."""
    found = {}
    for path in (folder / "results").rglob("*"):
        with contextlib.suppress(FileNotFoundError):  # folded meanwhile
            found[path] = path.stat().st_mtime_ns
    return found


def wait_for_rows(folder: Path, run: "subprocess.Popen[str]", n: int) -> None:
    deadline = time.monotonic() + 240
    read: dict[Path, int] = {}
    while time.monotonic() < deadline and run.poll() is None:
        now = files_of(folder)
        if now != read:  # else to read the rows would only cost the run its time
            read = now
            if len(rows_of(folder)) >= n:
                return
        time.sleep(0.1)
    if run.poll() is None:
        pytest.fail("no rows within 240 s")


def kill(run: "subprocess.Popen[str]", what: str) -> None:
    """SIGKILL to the processes that `what` names, once there are any.

    A run that has only started has no worker yet. One that ends before is a failure, since nothing
    would be seen.
    """
    names = {
        "worker": ("ray::PackTrial", "ray::ResourceTrainable"),
        "ray": ("gcs_server", "raylet", "ray::"),
    }
    victims = [psutil.Process(run.pid)] if what == "driver" and run.poll() is None else []
    deadline = time.monotonic() + 60
    while not victims and run.poll() is None:
        assert time.monotonic() < deadline, f"no {what} within 60 s"
        victims = family(run, *names[what])
    assert victims, f"the run ended before its {what} could be killed"
    for victim in victims[:1] if what == "worker" else victims:
        with contextlib.suppress(psutil.NoSuchProcess):
            victim.kill()


def end(run: "subprocess.Popen[str]", patience_s: float = 150) -> str:
    """Wait for a run that may hang because its Ray is gone; clear whatever is left of it."""
    try:
        output, _ = run.communicate(timeout=patience_s)
    except subprocess.TimeoutExpired:
        os.killpg(run.pid, signal.SIGKILL)
        output, _ = run.communicate()
    return output


def strike(folder: Path, run: "subprocess.Popen[str]", what: str, dice: random.Random) -> None:
    """Kill `what` once a random number of new rows stand and a random moment more has passed."""
    moment = min(len(rows_of(folder)) + dice.randint(1, 3), PLANNED - 1)
    print("killing", what, "at", moment, "rows")
    wait_for_rows(folder, run, moment)
    time.sleep(dice.random() * 0.3)
    kill(run, what)


def unharmed(before: pd.DataFrame, after: pd.DataFrame) -> None:
    """Every row that existed still does, and was not computed again."""
    then, now = before.set_index("cell_id")["created_at"], after.set_index("cell_id")["created_at"]
    assert set(then.index) <= set(now.index)
    assert (now[then.index] == then).all()


def test_every_death_in_turn_and_the_rows_are_exact(amnesia: Amnesia, tmp_path: Path) -> None:
    """SIGTERM, SIGKILL to the driver, to all of Ray, to a worker; each run goes on."""
    (tmp_path / "spec.yaml").write_text(SPEC)
    run = amnesia("run", "spec.yaml", cwd=tmp_path)
    wait_for_rows(tmp_path, run, 1)
    end_by(signal.SIGTERM, run)
    seen = rows_of(tmp_path)
    assert 1 <= len(seen) < PLANNED

    seed = random.randrange(2**32)
    print("dice of seed", seed)
    dice = random.Random(seed)
    for what in ("driver", "ray", "worker"):
        run = amnesia("run", "spec.yaml", cwd=tmp_path)
        strike(tmp_path, run, what, dice)
        output = end(run, WITHOUT_RAY_S if what == "ray" else 150)
        unharmed(seen, rows_of(tmp_path))
        seen = rows_of(tmp_path)
    assert run.returncode == 0, output  # a lost worker is replaced, the run goes on to its end
    assert len(seen) == PLANNED == seen["cell_id"].nunique()
    assert set(seen["status"]) == {"ok"}
    folded = pd.read_parquet(tmp_path / "results" / "v1")
    assert sorted(folded["cell_id"]) == sorted(seen["cell_id"])
    visible = [path.name for path in (tmp_path / "results" / "v1" / "sweep=killed").iterdir()]
    assert visible == ["rows-00000.parquet"]
