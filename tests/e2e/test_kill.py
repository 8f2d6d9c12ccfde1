"""SIGKILL to the driver, to a worker, to all of Ray: the next run ends with exactly the planned rows."""

import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pandas as pd
import psutil
import pytest

SPEC = """
name: killed
models: [cvae-mlp]
method: selective-amnesia
forget: [[0], [1]]
grid: {lam: [1, 2, 5, 10, 20, 50, 100, 200]}
unlearn: {steps: 40}
train: {steps: 60, fisher_samples: 500, judge_steps: 30}
eval: {samples: 30, judges: 1}
"""
PLANNED = 16


def rows_of(folder: Path) -> pd.DataFrame:
    table = folder / "results" / "v1" / "sweep=killed"
    if not list(table.glob("*.parquet")):
        return pd.DataFrame({"cell_id": [], "created_at": []})
    return pd.read_parquet(folder / "results" / "v1")


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


def wait_for_rows(folder: Path, run: "subprocess.Popen[str]", n: int) -> None:
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline and run.poll() is None:
        if len(list((folder / "results").rglob("cell-*.parquet"))) >= n:
            return
        time.sleep(0.02)
    if run.poll() is None:
        pytest.fail("no rows within 240 s")


def kill(run: "subprocess.Popen[str]", what: str) -> None:
    """SIGKILL, to the processes that `what` names."""
    victims = {
        "driver": [psutil.Process(run.pid)],
        "worker": family(run, "ray::PackTrial", "ray::ResourceTrainable")[:1],
        "ray": family(run, "gcs_server", "raylet", "ray::"),
    }[what]
    assert victims, what
    for victim in victims:
        try:
            victim.kill()
        except psutil.NoSuchProcess:
            continue


def end(run: "subprocess.Popen[str]") -> str:
    """Wait for a run that may hang because its Ray is gone; clear whatever is left of it."""
    try:
        output, _ = run.communicate(timeout=90)
    except subprocess.TimeoutExpired:
        os.killpg(run.pid, signal.SIGKILL)
        output, _ = run.communicate()
    return output


@pytest.mark.parametrize("what", ["driver", "worker", "ray"])
def test_killed_at_random_moments_and_started_again(what: str, amnesia, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "spec.yaml").write_text(SPEC)
    dice = random.Random()
    seen = rows_of(tmp_path)
    for _ in range(2):
        if len(seen) == PLANNED:
            break
        run = amnesia("run", "spec.yaml", cwd=tmp_path)
        moment = min(len(seen) + dice.randint(1, 5), PLANNED - 1)
        print("killing", what, "at", moment, "rows")
        wait_for_rows(tmp_path, run, moment)
        time.sleep(dice.random() * 0.3)
        if run.poll() is None:
            kill(run, what)
        output = end(run)
        if what == "worker":
            assert run.returncode == 0, output  # a lost worker is replaced, the run goes on
        now = rows_of(tmp_path)
        unharmed(seen, now)
        seen = now
    run = amnesia("run", "spec.yaml", cwd=tmp_path)
    output, _ = run.communicate(timeout=240)
    assert run.returncode == 0, output
    final = rows_of(tmp_path)
    unharmed(seen, final)
    assert len(final) == PLANNED == final["cell_id"].nunique()
    assert set(final["status"]) == {"ok"}
    visible = [path.name for path in (tmp_path / "results" / "v1" / "sweep=killed").iterdir()]
    assert sorted(visible) == sorted(f"cell-{cell}.parquet" for cell in final["cell_id"])


def unharmed(before: pd.DataFrame, after: pd.DataFrame) -> None:
    """Every row that existed still does, and was not computed again."""
    then, now = before.set_index("cell_id")["created_at"], after.set_index("cell_id")["created_at"]
    assert set(then.index) <= set(now.index)
    assert (now[then.index] == then).all()


def test_ctrl_c_leaves_everything_resumable(amnesia, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "spec.yaml").write_text(SPEC)
    run = amnesia("run", "spec.yaml", cwd=tmp_path)
    wait_for_rows(tmp_path, run, 2)
    run.send_signal(signal.SIGINT)
    output = end(run)
    assert run.returncode == 130, output
    assert "interrupted; finished cells are kept" in output
    assert "Traceback" not in output
    seen = rows_of(tmp_path)
    assert 2 <= len(seen) < PLANNED
    run = amnesia("run", "spec.yaml", cwd=tmp_path)
    output, _ = run.communicate(timeout=240)
    assert run.returncode == 0, output
    unharmed(seen, rows_of(tmp_path))
    assert len(rows_of(tmp_path)) == PLANNED
