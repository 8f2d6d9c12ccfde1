"""Kill drivers, workers and whole Rays at random while sweeps run; every row must survive, once.

    python -m tests.e2e.crash [--kills 300] [--minutes M] [--drivers 1] [--results URL] [--seed N]
                              [--folder DIR]

`make crash` runs it. The same command starts again after each death until all cells have rows; then
the next sweep begins, until there were enough kills or no minutes are left. Meanwhile another
process reads the rows with pandas, over and over. Ends with a line of counts, or at the first row
that is lost, doubled or computed again. Deaths at each step of a fold:
`tests/sweeps/rows/test_fold.py`.
"""

import argparse
import contextlib
import math
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from multiprocessing.synchronize import Event
from pathlib import Path

import pandas as pd
import psutil

from sweeps.rows.results import Results
from unlearn.files import exists, join

SPEC = """
name: crash-{number}
models: [cnn]
method: task-arithmetic
forget: [[1], [2]]
grid: {{alpha: [{alphas}], rho: [0.0, 0.3, 0.6, 0.9]}}
train: {{steps: 30, expert_steps: 5}}
eval: {{candidates: val}}
"""
ALPHAS = 30
CELLS = 2 * (4 * ALPHAS + 1)  # of each class, and the one that val chooses
PROCESSES = {
    "worker": ("ray::PackTrial", "ray::ResourceTrainable", "ray::_make_after"),
    "ray": ("gcs_server", "raylet", "ray::"),
}
# Runs import this checkout, and what the harness itself was given.
PYTHON_PATH = os.pathsep.join(filter(None, (os.getcwd(), os.environ.get("PYTHONPATH"))))


class Broken(Exception):
    """A row was lost, doubled or computed again."""


@dataclass(frozen=True)
class Aim:
    """How long to go on killing.

    kills: so many
    ends: not later than this, on the clock of `time.monotonic`
    """

    kills: int
    ends: float

    def reached(self, kills: int) -> bool:
        return kills >= self.kills or time.monotonic() > self.ends


@dataclass
class Watch:
    """What was seen of a sweep: a row that is durable once must stay, unchanged."""

    results: Results
    sweep: str
    created: dict[str, pd.Timestamp] = field(default_factory=dict)

    def look(self) -> int:
        """Check the durable rows against those seen before; return how many there are."""
        if self.sweep not in self.results.sweeps():
            return 0
        rows = self.results.read(self.sweep, ["status", "error"])
        now = dict(zip(rows["cell_id"], rows["created_at"], strict=True))
        failed = rows[rows["status"] != "ok"]
        if len(failed):
            raise Broken(f"{self.sweep}: a cell failed: {failed['error'].iloc[0]}")
        for cell_id, created_at in self.created.items():
            if now.get(cell_id) != created_at:
                raise Broken(f"{self.sweep}: the row of {cell_id} was lost or computed again")
        self.created = now
        return len(now)


NO_FILE_YET = (FileNotFoundError, ValueError, KeyError)


def keep_reading(
    table: str,
    ended: Event,
    options: dict[str, str] | None = None,
    passing: tuple[type[Exception], ...] = NO_FILE_YET,
    pause_s: float = 0.05,
) -> None:
    """Read all rows with pandas again and again; exit with 1 where one is double or has gone.

    passing: what pandas may raise where there is nothing to read at the moment
    """
    seen: set[tuple[str, str]] = set()
    columns = ["cell_id", "sweep"]
    while not ended.wait(pause_s):
        try:
            rows = pd.read_parquet(table, columns=columns, storage_options=options)
        except passing:
            continue
        now = set(zip(rows["sweep"].astype(str), rows["cell_id"], strict=True))
        if len(now) < len(rows) or not seen <= now:
            print(f"pandas read {len(rows)} rows, {len(now)} cells; {len(seen - now)} are gone")
            sys.exit(1)
        seen = now


def start(spec: Path, folder: Path, results: str) -> "subprocess.Popen[bytes]":
    command = ["-m", "cluster", "run", str(spec), "--results", results, "--store", "store"]
    with open(folder / "log.txt", "ab") as log:
        return subprocess.Popen(
            [sys.executable, *command],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": PYTHON_PATH, "OMP_NUM_THREADS": "1"},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def family(run: "subprocess.Popen[bytes]", names: tuple[str, ...]) -> list[psutil.Process]:
    """The run's child processes whose command line holds one of the names."""
    found = []
    with contextlib.suppress(psutil.NoSuchProcess):
        for child in psutil.Process(run.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                if any(name in " ".join(child.cmdline()) for name in names):
                    found.append(child)
    return found


def kill(run: "subprocess.Popen[bytes]", what: str, dice: random.Random) -> bool:
    """SIGKILL to one worker, to the driver, or to all of its Ray; False where there is none."""
    if what == "driver":
        run.kill()
        return True
    victims = family(run, PROCESSES[what])
    if what == "worker" and victims:
        victims = [dice.choice(victims)]
    for victim in victims:
        with contextlib.suppress(psutil.NoSuchProcess):
            victim.kill()
    return bool(victims)


def clear(run: "subprocess.Popen[bytes]") -> None:
    """End what is left of a run."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(run.pid, signal.SIGKILL)
    run.wait()


def rows_to_wait(aim: Aim, deaths: dict[str, int], dice: random.Random) -> int:
    """How many more rows there must be before the next death; more than there are at the end."""
    return CELLS if aim.reached(sum(deaths.values())) else dice.randint(0, 40)


def one_sweep(
    number: int, aim: Aim, folder: Path, results: str, drivers: int, dice: random.Random
) -> dict[str, int]:
    """Run one sweep to its end, killing on the way; return the deaths by what died."""
    alphas = ", ".join(f"{-0.05 * k - 0.001 * number:.3f}" for k in range(1, ALPHAS + 1))
    spec = folder / f"crash-{number}.yaml"
    spec.write_text(SPEC.format(number=number, alphas=alphas))
    watch = Watch(Results(results), f"crash-{number}")
    deaths = dict.fromkeys(("driver", "worker", "ray"), 0)
    while True:
        runs = [start(spec, folder, results) for _ in range(drivers)]
        before = watch.look()
        victim = dice.choice(runs)
        more = rows_to_wait(aim, deaths, dice)
        died = ""
        while any(run.poll() is None for run in runs):
            time.sleep(0.1)
            if died or watch.look() - before < more:
                continue
            time.sleep(dice.random())
            died = dice.choice(list(deaths))
            if not kill(victim, died, dice):
                died = ""
                continue
            deaths[died] += 1
            print(f"sweep {number}: {died} killed at {watch.look()} rows", flush=True)
            if died == "worker":  # the run goes on, and may be struck again
                died, before, more = "", watch.look(), rows_to_wait(aim, deaths, dice)
                continue
            time.sleep(dice.random())
            clear(victim)
        for run in runs:
            clear(run)
        watch.look()
        if all(run.returncode == 0 for run in runs) or (not died and watch.look() == CELLS):
            break
    there = watch.look()
    table = pd.read_parquet(join(results, "v1", f"sweep=crash-{number}"), columns=["cell_id"])
    if not there == len(table) == table["cell_id"].nunique() == CELLS:
        raise Broken(f"sweep {number}: {there} rows, {len(table)} for pandas, {CELLS} planned")
    return deaths


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--minutes", type=float, default=math.inf)
    parser.add_argument("--drivers", type=int, default=1)
    parser.add_argument("--results", help="folder or URL (default: a folder in --folder)")
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    parser.add_argument("--folder", type=Path, default=Path("crash"))
    asked = parser.parse_args()
    folder = asked.folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    results = asked.results or str(folder / "results")
    if exists(join(results, "v1")):
        print(f"{results} has rows already; give another folder", file=sys.stderr)
        return 2
    print(f"seed {asked.seed}", flush=True)
    dice = random.Random(asked.seed)
    context = get_context("spawn")
    ended = context.Event()
    reader = context.Process(target=keep_reading, args=(join(results, "v1"), ended))
    reader.start()
    total = dict.fromkeys(("driver", "worker", "ray"), 0)
    aim = Aim(asked.kills, time.monotonic() + 60 * asked.minutes)
    number = 0
    try:
        while not aim.reached(sum(total.values())):
            left = replace(aim, kills=asked.kills - sum(total.values()))
            deaths = one_sweep(number, left, folder, results, asked.drivers, dice)
            total = {what: total[what] + deaths[what] for what in total}
            number += 1
            if reader.exitcode is not None:
                raise Broken("pandas read a row twice, or missed one")
    finally:
        ended.set()
        reader.join()
    if reader.exitcode:
        raise Broken("pandas read a row twice, or missed one")
    each = ", ".join(f"{count} of a {what}" for what, count in total.items())
    print(f"{each}: {number} sweeps, {number * CELLS} cells, each with one row")
    return 0


if __name__ == "__main__":
    sys.exit(main())
