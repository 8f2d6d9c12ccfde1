"""Run Ray Tune: its settings, signals and scheduler, and the private names of Ray that we use.

Tune's own snapshots, loggers and signal handlers are switched off: the rows are the only record of
progress, and interruptions are handled here.
"""

import logging
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from tempfile import TemporaryDirectory
from threading import Event
from types import FrameType
from typing import Any

import ray
from ray import tune
from ray.exceptions import RayActorError
from ray.tune import CheckpointConfig, PlacementGroupFactory, RunConfig
from ray.tune.execution import class_cache
from ray.tune.execution.tune_controller import TuneController
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from sweeps.run.searcher import ATTEMPTS, PackSearcher
from sweeps.run.trial import CellReport, Pack, PackTrial
from unlearn.errors import CannotWrite

TRIED = ("2.60",)  # versions of Ray that the private names below were tested with
START_SECONDS = 60.0  # the longest wait for an actor that starts

ENVIRONMENT = {
    "RAY_AIR_NEW_OUTPUT": "0",  # the new output prints at every verbosity
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Tune would end as if it had finished
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000",
    "TUNE_MAX_PENDING_TRIALS_PG": "1000000",  # our searcher says how many
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",  # `Reporter` prints one line instead of a traceback
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
}
ACTOR_VARIABLES = ("DEFAULT_ENV_VARS", "ENV_VARS_TO_PROPAGATE")  # of Tune's `class_cache`
LOG_LEVELS = {
    "ray.tune": logging.ERROR,  # it warns that result files are missing, which we switched off
    "ray.tune.tune": logging.CRITICAL,  # it lists failed trials, whose cells were tried again
}


def check_version() -> None:
    """Warn where this version of Ray was never tested."""
    tried = any(ray.__version__.startswith(f"{version}.") for version in TRIED)
    if not tried:
        versions = " and ".join(TRIED)
        print(
            f"warning: Ray {ray.__version__} was never tried, only {versions}; "
            "if a run stalls, install one of these",
            file=sys.stderr,
        )


def run_packs(searcher: PackSearcher, finished: Callable[[list[CellReport]], Any]) -> None:
    """Run Tune until the searcher has no pack left.

    finished: called with the reports of each pack that is done

    Raises `KeyboardInterrupt` after an interruption, even if Tune swallowed that, and `CannotWrite`
    where no row can be written any more.
    """
    os.environ.update(ENVIRONMENT)
    with interruptions() as interrupted, log_levels(LOG_LEVELS):
        # A folder of this machine alone: workers would look in it only for checkpoints.
        with TemporaryDirectory(prefix="amnesia-", ignore_cleanup_errors=True) as scratch:
            tuner(searcher, scratch, Reporter(finished, interrupted)).fit()
        if interrupted.is_set():
            raise KeyboardInterrupt
        if searcher.halt:
            raise CannotWrite(searcher.halt)


def tuner(searcher: PackSearcher, scratch: str, reporter: "Reporter") -> tune.Tuner:
    """Return the one Tuner of a run."""
    return tune.Tuner(
        tune.with_resources(PackTrial, _resources),
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
            callbacks=[reporter],
            verbose=0,
        ),
    )


@contextmanager
def waiting_workers() -> Iterator[None]:
    """Let Tune's actors be workers that wait already, with their imports done, where Ray has some.

    Tune gives every actor an environment of its own: a setting for PyTorch Lightning, which we do
    not use, and some variables of the driver. For such an actor Ray starts a new process. Use this
    for a Ray that this process has started: its workers have the driver's variables anyway.
    """
    before = {name: getattr(class_cache, name, None) for name in ACTOR_VARIABLES}
    if None in before.values():
        print("warning: this Ray starts a new process for every actor", file=sys.stderr)
        yield
        return
    try:
        for name in before:
            setattr(class_cache, name, {})
        yield
    finally:
        for name, value in before.items():
            setattr(class_cache, name, value)


def _resources(config: dict[str, Any]) -> PlacementGroupFactory:
    pack = config["pack"]
    return PlacementGroupFactory([{"CPU": pack.cpu, "GPU": pack.gpu}])


class Reporter(tune.Callback):
    """Reports finished and lost packs; ends the run after an interruption that was swallowed."""

    def __init__(self, finished: Callable[[list[CellReport]], Any], interrupted: Event) -> None:
        self.finished, self.interrupted = finished, interrupted
        self.dead_nodes: set[str] = set()

    def __getstate__(self) -> dict[str, Any]:
        """Pickle nothing: Tune pickles callbacks for a resume that we never use."""
        return {}

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        if self.interrupted.is_set():
            raise KeyboardInterrupt

    def on_trial_complete(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        self.finished(trial.last_result.get("reports", []))

    def on_trial_error(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        """Say in one line that a worker is lost; of a node, only once.

        Where the worker had reported its pack, and its trial was held, the pack is done.
        """
        reports = trial.last_result.get("reports", [])
        if reports:
            self.finished(reports)
            return
        error = trial.get_pickled_error()
        node = node_that_died(error)
        if node in self.dead_nodes:
            return
        if node:
            self.dead_nodes.add(node)
        print(describe_loss(trial.config["pack"], error), file=sys.stderr, flush=True)


def node_that_died(error: Exception | None) -> str | None:
    """Return the id of the node whose death Ray names as the cause; None if it names none."""
    found = re.search(r"node (?:has )?died.*?Node Id: (\w+)", str(error), re.IGNORECASE | re.DOTALL)
    return found.group(1) if found else None


def describe_loss(pack: Pack, error: Exception | None) -> str:
    """Return one line about a pack whose worker is lost."""
    node = node_that_died(error)
    if node:
        return f"warning: node {node[:8]} died; its cells run again on the others"
    last = pack.attempt == ATTEMPTS
    then = "they get failed rows" if last else f"they run again, try {pack.attempt + 1}"
    killed = error is None or isinstance(error, RayActorError)
    why = "killed, or out of memory" if killed else str(error).strip().splitlines()[-1]
    return f"warning: a worker of {pack.sweep} with {len(pack.cells)} cells died ({why}); {then}"


class HoldWhileStarting(FIFOScheduler):
    """Ends a trial when its pack is done and no actor is starting.

    Tune gives a free actor to any waiting trial, even to one whose own actor is still starting, and
    then stops the starting actor. Without the hold, a sweep of short packs would use one actor.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.held_since: float | None = None

    def on_trial_result(
        self, tune_controller: TuneController, trial: Trial, result: dict[str, Any]
    ) -> str:
        live = tune_controller.get_live_trials()
        if not any(is_starting(tune_controller, each) for each in live):
            self.held_since = None
            return TrialScheduler.STOP
        now = time.monotonic()
        if self.held_since is None:
            self.held_since = now
        held = now - self.held_since
        return TrialScheduler.CONTINUE if held < START_SECONDS else TrialScheduler.STOP


def is_starting(controller: TuneController, trial: Trial) -> bool:
    """Whether the trial's own actor was launched and is not up yet.

    False for an actor that waits for resources, and for one taken over from another trial. Ray has
    no public way to ask.
    """
    if trial.status != Trial.PENDING or trial.temporary_state.ray_actor is not None:
        return False
    actor = controller._trial_to_actor.get(trial)
    return actor is not None and controller._actor_manager.is_actor_started(actor)


@contextmanager
def log_levels(levels: Mapping[str, int]) -> Iterator[None]:
    """Set the levels of loggers by name; restore them afterwards."""
    before = {name: logging.getLogger(name).level for name in levels}
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
    try:
        yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)


@contextmanager
def interruptions() -> Iterator[Event]:
    """Yield an event that is set once SIGINT, SIGTERM or SIGHUP has arrived.

    Each is then handled as it was before; a signal that was ignored, or had no handler in Python,
    is left alone. An exception that a handler raises inside a C callback or a destructor is lost;
    code that checks the event can raise it again.
    """
    interrupted = Event()
    before: dict[int, Any] = {}

    def strike(number: int, frame: FrameType | None) -> None:
        interrupted.set()
        before[number](number, frame)

    # other threads receive no signals
    if threading.current_thread() is threading.main_thread():
        for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if callable(signal.getsignal(each)):
                before[each] = signal.signal(each, strike)
    try:
        yield interrupted
    finally:
        for own, handler in before.items():
            signal.signal(own, handler)
