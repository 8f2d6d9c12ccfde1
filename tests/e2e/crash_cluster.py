"""Kill nodes, drivers and workers of a cluster at random; every cell must end with one row.

    python -m tests.e2e.crash_cluster [--kills 100] [--minutes M] [--raylets 3] [--drivers 2]
        [--results FOLDER|URL|s3] [--every 15] [--seed N] [--folder DIR]

`make crash-cluster` runs it. Several drivers run one spec at the same time on the same cluster.
What dies is started again at once. Every second death comes at any time, the others after some more
cells, so that they fall all over a sweep. `--results s3` starts an S3 server of its own and kills
that too. Meanwhile another process reads the rows with pandas, over and over. Ends with a line of
counts, or at the first row that is lost or doubled.
"""

import argparse
import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path

import fsspec
import pandas as pd
import psutil

from sweeps.rows.results import Results
from tests.e2e.crash import ALPHAS, CELLS, PROCESSES, PYTHON_PATH, SPEC, Broken, keep_reading
from tests.e2e.raylets import Raylets
from tests.e2e.s3 import S3Server, s3_server
from unlearn.files import exists, join

WEIGHTS = {"driver": 6, "worker": 8, "node": 5, "head": 1}  # how often each is chosen
WORKERS = PROCESSES["worker"]
OURS = {"PYTHONPATH": PYTHON_PATH, "RAY_ADDRESS": "", "RAY_AUTH_MODE": "disabled"}
STALLED_S = 900.0  # without a new row; a sweep takes about 200 s
ANY_TIME_S = 12.0  # a run begins to compute within these seconds, or later on a busy machine
SERVER = "S3 server"
WEIGHT_OF_SERVER = 1
WORKER_DIED = "the worker died"  # the error of a cell whose worker was killed at every try


@dataclass
class Seen:
    """The rows that were durable once: each must stay.

    again: cells that got a failed row, because the worker was killed at every try
    """

    results: Results
    sweep: str
    cells: set[str] = field(default_factory=set)
    again: set[str] = field(default_factory=set)

    def look(self) -> int:
        """Check the durable rows against those seen before; return how many cells have scores."""
        if self.sweep not in self.results.sweeps():
            return 0
        rows = self.results.read(self.sweep, ["status", "error"])
        now = set(rows["cell_id"])
        if len(now) < len(rows):
            raise Broken(f"{self.sweep}: {len(rows)} rows of {len(now)} cells")
        if not self.cells <= now:
            raise Broken(f"{self.sweep}: rows are lost: {sorted(self.cells - now)}")
        failed = rows[rows["status"] != "ok"]
        for error in failed["error"]:
            if not error.startswith(WORKER_DIED):
                raise Broken(f"{self.sweep}: a cell failed: {error}")
        self.again |= set(failed["cell_id"])
        self.cells = now
        return len(rows) - len(failed)


@dataclass
class Site:
    """A cluster under attack, its drivers, and where they write.

    folder: for everything
    results, store: places
    nodes, drivers: how many there are
    server: of S3; None for results elsewhere
    number: of the sweep that runs
    """

    folder: Path
    results: str
    store: str
    nodes: int
    drivers: int
    server: S3Server | None
    dice: random.Random
    number: int = 0
    started: int = 0  # nodes so far
    cluster: Raylets | None = None
    runs: "list[subprocess.Popen[bytes]]" = field(default_factory=list)

    @property
    def sweep(self) -> str:
        return f"crash-{self.number}"

    @property
    def log(self) -> Path:
        return self.folder / "log.txt"

    def environment(self) -> dict[str, str]:
        """The variables that nodes and drivers need."""
        more = {} if self.server is None else self.server.environment
        return {"OMP_NUM_THREADS": "1", **more}

    def write_spec(self) -> None:
        alphas = [f"{-0.05 * k - 0.001 * self.number:.3f}" for k in range(1, ALPHAS + 1)]
        text = SPEC.format(number=self.number, alphas=", ".join(alphas))
        (self.folder / f"{self.sweep}.yaml").write_text(text)

    def restore(self) -> None:
        """Start again what has died: first the head, then nodes, then drivers."""
        self.forget_dead_nodes()
        if self.cluster is None:
            self.started += 1
            folder = self.folder / f"cluster-{self.started}"
            folder.mkdir()
            self.cluster = Raylets(folder)
            self.cluster.start("head", 1, **self.environment())
        while len(self.cluster.nodes) < self.nodes:
            self.started += 1
            self.cluster.launch(f"node-{self.started}", 1, **self.environment())
        for place, run in enumerate(self.runs):
            if run.poll() not in (None, 0):
                if run.returncode > 0:
                    print(f"   a driver ended with {run.returncode}", flush=True)
                end(run)
                self.runs[place] = self.start_driver()
        while len(self.runs) < self.drivers:
            self.runs.append(self.start_driver())

    def forget_dead_nodes(self) -> None:
        """Drop nodes that ended by themselves; without its head, the cluster."""
        if self.cluster is None:
            return
        for name, node in list(self.cluster.nodes.items()):
            if node.poll() is not None:
                print(f"   node {name} ended with {node.returncode}", flush=True)
                del self.cluster.nodes[name]
        if "head" not in self.cluster.nodes:
            self.kill_head(self.cluster)

    def start_driver(self) -> "subprocess.Popen[bytes]":
        assert self.cluster is not None
        command = [
            *(sys.executable, "-m", "cluster", "run", f"{self.sweep}.yaml", "--retry-failed"),
            *("--results", self.results, "--store", self.store),
            *("--address", self.cluster.address),
        ]
        with self.log.open("ab") as log:
            return subprocess.Popen(
                command,
                cwd=self.folder,
                env={**os.environ, **OURS, **self.environment()},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def kill(self, what: str) -> bool:
        """SIGKILL to one of a kind; False where there is none."""
        if what == "driver":
            running = [run for run in self.runs if run.poll() is None]
            return bool(running) and end(self.dice.choice(running))
        if what == SERVER:
            return self.kill_server()
        if self.cluster is None:
            return False
        if what == "worker":
            return self.kill_worker(self.cluster)
        if what == "node":
            names = [name for name in self.cluster.nodes if name != "head"]
            self.cluster.kill(self.dice.choice(names))
            return True
        return self.kill_head(self.cluster)

    def kill_worker(self, cluster: Raylets) -> bool:
        found = []
        for node in cluster.nodes.values():
            for process in psutil.Process(node.pid).children(recursive=True):
                with contextlib.suppress(psutil.NoSuchProcess):
                    if any(name in " ".join(process.cmdline()) for name in WORKERS):
                        found.append(process)
        if not found:
            return False
        with contextlib.suppress(psutil.NoSuchProcess):
            self.dice.choice(found).kill()
        return True

    def kill_head(self, cluster: Raylets) -> bool:
        """The head takes the whole cluster along; its drivers lose their Ray, and are ended."""
        for name in list(cluster.nodes):
            cluster.kill(name)
        cluster.close()
        self.cluster = None
        time.sleep(self.dice.random())
        for run in self.runs:
            if run.poll() is None:
                end(run)
        return True

    def kill_server(self) -> bool:
        if self.server is None:
            return False
        self.server.kill()
        time.sleep(self.dice.random())
        self.server.start()
        return True

    def close(self) -> None:
        for run in self.runs:
            end(run)
        if self.cluster is not None:
            self.cluster.close()


def end(run: "subprocess.Popen[bytes]") -> bool:
    """SIGKILL to a driver and to what it has started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    return True


@dataclass
class Attack:
    """How often to kill, and what was killed so far.

    kills: how many
    ends: monotonic seconds after which nothing is killed
    every: cells between two kills, in the mean
    """

    kills: int
    ends: float
    every: int
    deaths: Counter[str] = field(default_factory=Counter)

    @property
    def over(self) -> bool:
        return self.deaths.total() >= self.kills or time.monotonic() > self.ends

    def choose(self, site: Site) -> str:
        weights = dict(WEIGHTS)
        if site.server is not None and "weed" in site.server.program[0]:
            weights[SERVER] = WEIGHT_OF_SERVER
        return site.dice.choices(list(weights), list(weights.values()))[0]

    def next_moment(self, site: Site, cells: int) -> tuple[int, float]:
        """Return when the next one dies: at so many cells, and not before this time."""
        if site.dice.random() < 0.5:
            return 0, time.monotonic() + site.dice.uniform(0, ANY_TIME_S)
        return cells + site.dice.randint(1, 2 * self.every - 1), 0.0

    def strike(self, site: Site, cells: int) -> None:
        victim = self.choose(site)
        if site.kill(victim):
            self.deaths[victim] += 1
            print(
                f"{self.deaths.total()}: a {victim} killed at {cells} cells of {site.sweep}",
                flush=True,
            )


def one_sweep(site: Site, attack: Attack) -> Seen:
    """Run one sweep to its end, killing on the way."""
    site.write_spec()
    site.runs = []
    seen = Seen(Results(site.results), site.sweep)
    at, after = attack.next_moment(site, 0)
    cells, since = 0, time.monotonic()
    while True:
        site.restore()
        with contextlib.suppress(OSError):  # the S3 server has just started again
            before, cells = cells, seen.look()
            since = since if cells == before else time.monotonic()
        if time.monotonic() - since > STALLED_S:
            raise Broken(f"{site.sweep}: {cells} of {CELLS} cells, none new for {STALLED_S:.0f} s")
        if all(run.poll() == 0 for run in site.runs):
            break
        time.sleep(0.1)
        if not attack.over and cells >= at and time.monotonic() > after:
            attack.strike(site, cells)
            at, after = attack.next_moment(site, cells)
    options = None if site.server is None else options_of(site.server)
    place = join(site.results, "v1", f"sweep={site.sweep}")
    table = pd.read_parquet(place, columns=["cell_id"], storage_options=options)
    if not seen.look() == len(table) == table["cell_id"].nunique() == CELLS:
        raise Broken(f"{site.sweep}: {len(table)} rows for pandas, {CELLS} cells planned")
    return seen


def options_of(server: S3Server) -> dict[str, str]:
    """What fsspec's s3 driver is told, for pandas and for this process."""
    found = server.environment.items()
    return {name.removeprefix("FSSPEC_S3_").lower(): value for name, value in found}


@contextmanager
def place_for(asked: str | None, folder: Path) -> Iterator[tuple[str, str, S3Server | None]]:
    """Yield (results, store, S3 server): in the folder, where asked, or in a bucket of our own."""
    if asked != "s3":
        yield asked or str(folder / "results"), str(folder / "store"), None
        return
    own = folder / "s3"
    own.mkdir()
    with s3_server(own) as server:
        fsspec.config.conf["s3"] = options_of(server)
        os.environ.update(server.environment)
        yield f"{server.root}/results", f"{server.root}/store", server


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--minutes", type=float, default=600, help="kill nothing after that")
    parser.add_argument("--raylets", type=int, default=3)
    parser.add_argument("--drivers", type=int, default=2)
    parser.add_argument("--results", help="folder or URL, or s3 (default: a folder in --folder)")
    parser.add_argument("--every", type=int, default=15, help="mean cells between two kills")
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    parser.add_argument("--folder", type=Path, default=Path("crash-cluster"))
    asked = parser.parse_args()
    folder = asked.folder.absolute()
    if folder.exists():
        print(f"{folder} is there already; give another --folder", file=sys.stderr)
        return 2
    folder.mkdir(parents=True)
    print(f"seed {asked.seed}", flush=True)
    with place_for(asked.results, folder) as (results, store, server):
        if exists(join(results, "v1")):
            print(f"{results} has rows already; give another place", file=sys.stderr)
            return 2
        dice = random.Random(asked.seed)
        site = Site(folder, results, store, asked.raylets, asked.drivers, server, dice)
        attack = Attack(asked.kills, time.monotonic() + 60 * asked.minutes, asked.every)
        with closing(site), reading(join(results, "v1"), server):
            print(run(site, attack))
    return 0


def run(site: Site, attack: Attack) -> str:
    """Run sweeps until there were enough kills; return what has died and what is left."""
    again = 0
    started = time.monotonic()
    while True:
        again += len(one_sweep(site, attack).again)
        site.number += 1
        if attack.over:
            break
    each = ", ".join(f"{count} of a {what}" for what, count in sorted(attack.deaths.items()))
    minutes = (time.monotonic() - started) / 60
    return (
        f"{attack.deaths.total()} kills ({each}) in {minutes:.0f} minutes, {site.nodes} nodes, "
        f"{site.drivers} drivers: {site.number} sweeps, {site.number * CELLS} cells, each with "
        f"one row; {again} were tried again after a failed row"
    )


@contextmanager
def reading(table: str, server: S3Server | None) -> Iterator[None]:
    """Read the rows with pandas in another process during the block."""
    options = None if server is None else options_of(server)
    context = get_context("spawn")
    ended = context.Event()
    # where the server is gone, each driver of fsspec raises something of its own
    arguments = (table, ended, options, (Exception,), 0.5)
    reader = context.Process(target=keep_reading, args=arguments)
    reader.start()
    try:
        yield
    finally:
        ended.set()
        reader.join()
    if reader.exitcode:
        raise Broken("pandas read a row twice, or missed one")


if __name__ == "__main__":
    sys.exit(main())
