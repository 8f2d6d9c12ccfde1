"""Ray Tune's side of a run: a searcher that hands out packs of cells, from grids and studies alike, and a scheduler
that keeps every slot busy."""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import ray
from ray.tune.execution.tune_controller import TuneController
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from sweeps.plan.sources import Grid, Source
from sweeps.rows.results import Results
from sweeps.run.trial import Pack, Places, record_failure
from sweeps.spec.sweep import Resources

PACK_SECONDS = 4.0  # a trial costs some 25 ms of Ray: less than 1 % of a pack of this length
TRIALS = 3  # that a cell has whose worker dies
START_SECONDS = 60.0  # an actor that is not up by then is waited for no longer


class PackSearcher(Searcher):
    """Ray Tune's view of all sources, and of those that are known `later`, once these are done. A pack comes from one
    source, so its cells share their artifacts."""

    def __init__(
        self,
        sources: list[Source],
        places: Places,
        slots: Callable[[Resources], int],
        retry: bool,
        later: Callable[[], list[Source]] = list,
    ) -> None:
        super().__init__(metric="done", mode="max")
        self.sources, self.places, self.slots, self.retry, self.later = (
            sources,
            places,
            slots,
            retry,
            later,
        )
        self.flying: dict[str, tuple[Source, Pack]] = {}
        self.heard: set[str] = set()  # of whose rows the sources know
        self.again: list[tuple[Source, Pack]] = []  # whose worker died
        self.lost: list[tuple[Source, Pack]] = []  # whose workers died every time
        self.seconds: dict[tuple[str, str], float] = {}  # of one cell, by sweep and method
        self.next = 0

    def suggest(self, trial_id: str) -> Any:
        """A pack for every slot at once, so that their actors start together, and one more, so that none waits."""
        if self.again:
            self.flying[trial_id] = self.again.pop()
            return {"pack": self.flying[trial_id][1], "site": self.places}
        open_sources = self._open()
        if not open_sources:
            return None if self.flying else Searcher.FINISHED
        flying = Counter(source.sweep.resources for source, _ in self.flying.values())
        slots = {
            needs: self.slots(needs)
            for needs in {source.sweep.resources for source in open_sources}
        }
        ready = [s for s in open_sources if flying[s.sweep.resources] <= slots[s.sweep.resources]]
        if not ready:
            return None
        few = ready[
            : slots[ready[0].sweep.resources]
        ]  # so that actors have at hand what they loaded and read
        source = few[self.next % len(few)]
        self.next += 1
        cells = source.take(self._size(source, slots[source.sweep.resources]))
        needs = source.sweep.resources
        bars = tuple(source.bars.best.items())
        known = source.tuning if isinstance(source, Grid) else {}
        tuning = tuple(
            (cell.cell_id, known[cell.cell_id]) for cell in cells if cell.cell_id in known
        )
        pack = Pack(source.sweep.name, tuple(cells), needs.cpu, needs.gpu, self.retry, bars, tuning)
        self.flying[trial_id] = (source, pack)
        return {"pack": pack, "site": self.places}

    def _open(self) -> list[Source]:
        """Sources that have cells left; once all is done, what is known only now."""
        if not self.flying and not any(source.left for source in self.sources):
            self.record_lost()
            self.sources, self.later = self.sources + self.later(), list
        return [source for source in self.sources if source.left]

    def _size(self, source: Source, slots: int) -> int:
        """As stated, else one cell until its seconds are known, then as many as fill a pack; never starving a slot."""
        stated = source.sweep.resources.cells_per_trial
        if stated:
            return stated
        known = self.seconds.get((source.sweep.name, source.example.method))
        if known is None:
            return 1
        total = sum(
            each.left for each in self.sources if each.sweep.resources == source.sweep.resources
        )
        return max(1, min(round(PACK_SECONDS / max(known, 1e-3)), -(-total // slots)))

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Once a pack, when its cells are done, however long it is held."""
        if trial_id in self.heard:
            return
        self.heard.add(trial_id)
        source, pack = self.flying[trial_id]
        for cell, row in zip(pack.cells, result["rows"], strict=True):
            source.tell(cell, row)
            if row.get("wall_s"):
                self.seconds[source.sweep.name, cell.method] = row[
                    "wall_s"
                ]  # the last is the warmest

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        if not error and result is not None:
            self.on_trial_result(trial_id, result)
        elif trial_id not in self.heard:  # else all is done, and told
            self._give_up(*self.flying[trial_id])
        self.heard.discard(trial_id)
        del self.flying[trial_id]

    def _give_up(self, source: Source, pack: Pack) -> None:
        """The worker died: hand the cells out once more, one by one, so that one that kills takes no other with it."""
        tried = [replace(pack, cells=(cell,), trial=pack.trial + 1) for cell in pack.cells]
        (self.lost if pack.trial == TRIALS else self.again).extend((source, each) for each in tried)

    def record_lost(self) -> None:
        """Cells whose worker died again and again get a row that says so."""
        results = Results(self.places.results)
        while self.lost:
            source, pack = self.lost.pop()
            for cell in pack.cells:
                if results.find(pack.sweep, cell.cell_id) is None:
                    error = (
                        f"the worker died {TRIALS} times on this cell (killed, or out of memory)"
                    )
                    record_failure(self.places, source.sweep, cell, error)

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: the rows are the only journal."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore: a new run re-tells its studies from the rows."""


class HoldWhileStarting(FIFOScheduler):
    """Ends a pack when its cells are done and no actor is starting. Tune gives an actor that is free to whatever trial
    waits, also to one whose own actor is still starting, and throws that one away: a sweep of short packs would go on
    with the first actor alone."""

    def __init__(self) -> None:
        super().__init__()
        self.since: float | None = None

    def on_trial_result(
        self, tune_controller: TuneController, trial: Trial, result: dict[str, Any]
    ) -> str:
        if not any(_starting(tune_controller, each) for each in tune_controller.get_live_trials()):
            self.since = None
            return TrialScheduler.STOP
        now = time.monotonic()
        self.since = self.since or now
        return TrialScheduler.CONTINUE if now - self.since < START_SECONDS else TrialScheduler.STOP


def _starting(controller: TuneController, trial: Trial) -> bool:
    """Whether the trial has an actor of its own that was launched and is not up yet: neither one that waits for a
    place, nor one that is made ready for it after another trial. Nothing public tells."""
    if trial.status != Trial.PENDING or trial.temporary_state.ray_actor is not None:
        return False
    actor = controller._trial_to_actor.get(trial)
    return actor is not None and controller._actor_manager.is_actor_started(actor)


def slots(needs: Resources) -> int:
    """How many trials that each need this Ray could run at once, were nothing else running; at least 1."""
    found = 0
    for node in ray.nodes():
        if node["Alive"]:
            has = node["Resources"]
            by_cpu = has.get("CPU", 0) / needs.cpu
            by_gpu = has.get("GPU", 0) / needs.gpu if needs.gpu else by_cpu
            found += int(min(by_cpu, by_gpu) + 1e-9)  # ten times 0.1 GPU are one
    return max(1, found)
