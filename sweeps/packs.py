"""Ray Tune's side of a run: a searcher that hands out packs of cells, from grids and studies alike, and a scheduler
that keeps every slot busy."""

import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import ray
from ray.tune.execution.tune_controller import TuneController
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from sweeps.compute import Bars
from sweeps.rows import Results
from sweeps.search import Grid, Source
from sweeps.spec import Resources
from sweeps.trial import Pack, Site, record_failure

PACK_SECONDS = 4.0  # a trial costs some 25 ms of Ray: less than 1 % of a pack of this length
WORKER_DEATHS = 3  # a pack whose worker dies more often than this is recorded as failed
START_SECONDS = 60.0  # an actor that has not started by then waits for a place that something else holds


class PackSearcher(Searcher):
    """Ray Tune's view of all sources, and of those that are known `later`, once these are done. A pack comes from one
    source, so its cells share their artifacts."""

    def __init__(
        self,
        sources: list[Source],
        site: Site,
        slots: Callable[[], int],
        retry: bool,
        later: Callable[[], list[Source]] = list,
    ) -> None:
        super().__init__(metric="done", mode="max")
        self.sources, self.site, self.slots, self.retry, self.later = sources, site, slots, retry, later
        self.flying: dict[str, tuple[Source, Pack]] = {}
        self.bars: defaultdict[int, Bars] = defaultdict(Bars)  # by id of the source
        self.seconds: dict[tuple[str, str], float] = {}  # of one cell, by sweep and method
        self.next = 0

    def suggest(self, trial_id: str) -> Any:
        """A pack for every slot at once, so that their actors start together, and one more, so that none waits."""
        open_sources = self._open()
        if not open_sources:
            return None if self.flying else Searcher.FINISHED
        slots = self.slots()
        if len(self.flying) > slots:
            return None
        few = open_sources[:slots]  # so that actors have at hand what they loaded and read
        source = few[self.next % len(few)]
        self.next += 1
        cells = source.take(self._size(source, slots))
        needs = source.sweep.resources
        bars = tuple(self.bars[id(source)].best.items())
        known = source.tuning if isinstance(source, Grid) else {}
        tuning = tuple((cell.cell_id, known[cell.cell_id]) for cell in cells if cell.cell_id in known)
        pack = Pack(source.sweep.name, tuple(cells), needs.cpu, needs.gpu, self.retry, bars, tuning)
        self.flying[trial_id] = (source, pack)
        return {"pack": pack, "site": self.site}

    def _open(self) -> list[Source]:
        """Sources that have cells left; once all is done, what is known only now."""
        if not self.flying and not any(source.left for source in self.sources):
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
        total = sum(each.left for each in self.sources)
        return max(1, min(round(PACK_SECONDS / max(known, 1e-3)), -(-total // slots)))

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        source, pack = self.flying.pop(trial_id)
        if error or result is None:
            self._lose(source, pack)
            return
        for cell, row in zip(pack.cells, result["rows"], strict=True):
            source.tell(row)
            self.bars[id(source)].heed(cell.method, row)
            if row.get("wall_s") is not None:
                self.seconds[source.sweep.name, cell.method] = row["wall_s"]  # the last is the warmest

    def _lose(self, source: Source, pack: Pack) -> None:
        """Cells of a pack whose worker died again and again get a row that says so."""
        results = Results(self.site.results)
        for cell in pack.cells:
            if not results.has(pack.sweep, cell.cell_id):
                error = f"the worker died {WORKER_DEATHS + 1} times on this pack (killed, or out of memory)"
                record_failure(self.site, source.sweep, cell, error)

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: the rows are the only journal."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore: a new run re-tells its studies from the rows."""


class Muster(FIFOScheduler):
    """Ends a pack when its cells are done and every slot's actor is up. Tune gives an actor that is free to whatever
    trial waits, also to one whose own actor is still starting, and throws that one away: a sweep of short packs would
    go on with the first actor alone."""

    def __init__(self, slots: Callable[[], int]) -> None:
        super().__init__()
        self.slots = slots
        self.short_since: float | None = None

    def on_trial_result(self, tune_controller: TuneController, trial: Trial, result: dict[str, Any]) -> str:
        states = [each.status for each in tune_controller.get_live_trials()]
        if states.count(Trial.RUNNING) >= self.slots():
            self.short_since = None
        elif Trial.PENDING in states:
            now = time.monotonic()
            self.short_since = self.short_since or now
            if now - self.short_since < START_SECONDS:
                return TrialScheduler.CONTINUE
        return TrialScheduler.STOP


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
