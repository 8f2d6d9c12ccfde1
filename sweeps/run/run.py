"""Running a plan: prepare its artifacts, then one Tuner for all of its cells."""

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event
from types import FrameType
from typing import Any

import ray
from fsspec.implementations.memory import MemoryFileSystem
from ray import tune
from ray.tune import CheckpointConfig, PlacementGroupFactory, RunConfig
from ray.tune.experiment import Trial

from sweeps.plan.plan import Plan, make_plan
from sweeps.plan.sources import Source, Study
from sweeps.rows.results import Results
from sweeps.run.prepare import prepare
from sweeps.run.searcher import HoldWhileStarting, PackSearcher, slots
from sweeps.run.trial import PackTrial, Places, record_failure
from sweeps.spec.cells import Cell, cell_of
from sweeps.spec.sweep import Resources
from unlearn.artifacts import Store
from unlearn.errors import require
from unlearn.files import locate

Progress = Callable[[str, int, str], Any]  # (stage, how many more are done, what)

LOUDNESS = {
    "ray.tune": logging.ERROR,  # it misses the result files that we switched off
    "ray.tune.tune": logging.CRITICAL,  # and names trials whose cells others have computed since
}


@dataclass(frozen=True)
class Ran:
    """What a run did: how many cells, seconds by stage."""

    cells: int
    prepare_s: float
    tune_s: float
    computed_s: float  # over all slots: what artifacts and cells took inside their workers
    slots: int


def places_for(store: str, results: str, data_root: str) -> Places:
    """Absolute places, and the revision of this code where it is a git checkout. Raises `BadInput` of a place that no
    other process can reach."""
    roots = [
        str(Path(root).absolute()) if "://" not in root else root
        for root in (results, store, data_root)
    ]
    for root in roots:
        shared = not isinstance(locate(root)[0], MemoryFileSystem)
        require(
            shared,
            f"{root} lies in the memory of one process; choose a folder or URL that every worker reaches",
        )
    return Places(roots[0], roots[1], roots[2], _revision())


def _revision() -> str | None:
    folder = Path(__file__).parent
    run = subprocess.run(
        ["git", "-C", str(folder), "rev-parse", "HEAD"], capture_output=True, text=True, check=False
    )
    return run.stdout.strip() or None


def run(
    plan: Plan,
    places: Places,
    progress: Progress,
    retry_failed: bool = False,
    growing: bool = False,
) -> Ran:
    """Bring every planned sweep to one row a cell. Needs an initialised Ray, `growing` where nodes may still join it.
    Safe to interrupt and to repeat at any moment."""
    _check_room(plan, growing)
    cells = plan.cells
    started = time.perf_counter()
    clock = _Clock(progress)
    broken = _prepare(plan, places, clock)
    prepared = time.perf_counter()
    sources = _without_broken(plan, broken, places, clock)

    def chosen() -> list[Source]:
        store, results, sweeps = Store(places.store), Results(places.results), list(plan.sweeps)
        return (
            list(make_plan(sweeps, store, results, retry_failed, confirming=True).sources)
            if plan.later
            else []
        )

    if sources or plan.later:
        _tune(PackSearcher(sources, places, slots, retry_failed, chosen), clock)
    room = slots(plan.sources[0].sweep.resources)
    return Ran(cells, prepared - started, time.perf_counter() - prepared, clock.computed_s, room)


class _Clock:
    """A progress that also adds up the seconds spent computing."""

    def __init__(self, progress: Progress) -> None:
        self.progress, self.computed_s = progress, 0.0

    def __call__(self, stage: str, more: int, what: str, seconds: float = 0.0) -> None:
        self.computed_s += seconds
        self.progress(stage, more, what)


def _check_room(plan: Plan, growing: bool) -> None:
    """What no node has Ray would wait for in silence: refuse it, or warn where a node may yet join."""
    for sweep in {source.sweep.name: source.sweep for source in plan.sources}.values():
        asks = sweep.resources
        has = _largest(asks)
        less = [
            f"--set resources.{name}={amount:g}"
            for name, amount in has.items()
            if getattr(asks, name) > amount
        ]
        if less:
            lack = (
                f"sweep {sweep.name} asks {asks.cpu:g} CPU and {asks.gpu:g} GPU of one node, "
                f"the largest has {has['cpu']:g} CPU and {has['gpu']:g} GPU"
            )
            require(growing, f"{lack}; {' '.join(less)}")
            print(f"warning: {lack}; it waits until a larger one joins", file=sys.stderr)


def _largest(asks: Resources) -> dict[str, float]:
    """What the node has that comes closest to what is asked."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    found = [{"cpu": node.get("CPU", 0), "gpu": node.get("GPU", 0)} for node in nodes]
    return max(found, key=lambda node: (min(node["gpu"], asks.gpu), node["cpu"]))


def _prepare(plan: Plan, places: Places, clock: _Clock) -> dict[str, str]:
    if not plan.build:
        return {}
    return prepare(
        Store(places.store),
        places.data_root,
        plan.build,
        _resources(plan),
        lambda recipe, seconds: clock("prepare", 1, recipe.describe(), seconds),
    )


def _resources(plan: Plan) -> dict[str, Resources]:
    """By an artifact's key: what the first sweep that needs it asks for."""
    asked: dict[str, Resources] = {}
    for source in plan.sources:
        sweep, problem = source.sweep, source.example.problem
        for method in sweep.methods:
            for recipe in cell_of(sweep, problem, method, {}).recipes().values():
                asked.setdefault(recipe.key, sweep.resources)
    return asked


def _without_broken(
    plan: Plan, broken: dict[str, str], places: Places, clock: _Clock
) -> list[Source]:
    """Record the cells whose artifacts could not be made as failed; return the sources that have others left."""
    for source in plan.sources:
        for cell, why in _doomed(source, broken):
            record_failure(places, source.sweep, cell, why)
            clock("cells", 1, f"{cell.problem.model} failed")
    return [source for source in plan.sources if source.left]


def _doomed(source: Source, broken: dict[str, str]) -> list[tuple[Cell, str]]:
    """Taken out of the source: its cells that need what is broken, and why that is. All cells of a study need alike."""

    def why(cell: Cell) -> str:
        return "; ".join(
            sorted(
                {broken[recipe.key] for recipe in cell.recipes().values() if recipe.key in broken}
            )
        )

    if isinstance(source, Study):
        reason = why(source.example)
        return [(cell, reason) for cell in source.take(source.left if reason else 0)]
    doomed = [(cell, reason) for cell in source.cells if (reason := why(cell))]
    source.cells = [cell for cell in source.cells if not why(cell)]
    return doomed


@contextmanager
def ctrl_c() -> Iterator[Event]:
    """Whether Ctrl-C was struck. A KeyboardInterrupt is lost where it strikes inside a C callback or a destructor; who
    looks here can raise it again."""
    struck = Event()

    def strike(number: int, frame: FrameType | None) -> None:
        struck.set()
        signal.default_int_handler(number, frame)

    if (
        threading.current_thread() is not threading.main_thread()
    ):  # only the main thread hears signals
        yield struck
        return
    before = signal.signal(signal.SIGINT, strike)
    try:
        yield struck
    finally:
        signal.signal(signal.SIGINT, before)


class _Report(tune.Callback):
    """Feeds the progress bar, and ends the run where Ctrl-C was struck and nobody heard it."""

    def __init__(self, clock: _Clock, struck: Event) -> None:
        self.clock, self.struck = clock, struck

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles its callbacks for a resume that we never use; a terminal does not travel."""
        return {}

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        if self.struck.is_set():
            raise KeyboardInterrupt

    def on_trial_complete(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        rows = trial.last_result.get("rows", [])
        failed = sum(row["status"] == "failed" for row in rows)
        seconds = sum(row.get("wall_s", 0.0) for row in rows)
        self.clock("cells", len(rows), f"{failed} failed" if failed else "", seconds)


def _tune(searcher: PackSearcher, clock: _Clock) -> None:
    """One Tuner for everything; a Ctrl-C that Tune has not heard still ends the run."""
    with ctrl_c() as struck:
        _fit(searcher, clock, struck)
        if struck.is_set():
            raise KeyboardInterrupt


def _fit(searcher: PackSearcher, clock: _Clock, struck: Event) -> None:
    """Run Tune; its own snapshots and loggers are off, because the rows are the only journal."""
    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"  # the new one prints at every verbosity
    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = (
        "1"  # Ctrl-C is ours: Tune would end as if it had finished
    )
    os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
    os.environ["TUNE_GLOBAL_CHECKPOINT_S"] = "1000000"
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = "1000000"  # our searcher says how many
    os.environ["TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S"] = "0"
    before = {name: logging.getLogger(name).level for name in LOUDNESS}
    for name, level in LOUDNESS.items():
        logging.getLogger(name).setLevel(level)
    try:
        with TemporaryDirectory(prefix="amnesia-", ignore_cleanup_errors=True) as scratch:
            _tuner(searcher, scratch, _Report(clock, struck)).fit()
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)
    searcher.record_lost()


def _tuner(searcher: PackSearcher, scratch: str, report: _Report) -> tune.Tuner:
    """`scratch` is a folder of this machine alone: Tune's workers would look into it for checkpoints only, and there
    are none."""
    return tune.Tuner(
        tune.with_resources(PackTrial, _needs),
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            scheduler=HoldWhileStarting(),
            num_samples=-1,
            reuse_actors=True,
            trial_name_creator=lambda trial: trial.trial_id,
            trial_dirname_creator=lambda trial: trial.trial_id,
        ),
        run_config=RunConfig(
            name=f"run-{os.getpid()}",
            storage_path=scratch,
            checkpoint_config=CheckpointConfig(checkpoint_frequency=0, checkpoint_at_end=False),
            callbacks=[report],
            verbose=0,
        ),
    )


def _needs(config: dict[str, Any]) -> PlacementGroupFactory:
    pack = config["pack"]
    return PlacementGroupFactory([{"CPU": pack.cpu, "GPU": pack.gpu}])
