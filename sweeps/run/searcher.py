"""Hand packs of cells from grids and studies to Ray Tune."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ray.tune.search import Searcher

from sweeps.plan.sources import Source
from sweeps.rows.results import Results
from sweeps.run.budget import Allowance
from sweeps.run.places import Places
from sweeps.run.trial import CellReport, Pack, record_failure
from sweeps.spec.sweep import Resources

PACK_SECONDS = 4.0  # Ray adds about 25 ms per trial: less than 1 % of such a pack
ATTEMPTS = 3  # how often a cell is tried whose worker dies


class PackSearcher(Searcher):
    """Suggests packs to Ray Tune. A pack comes from one source, so its cells share artifacts.

    sources: where cells come from
    places: folders and URLs of the run
    slots: how many trials with given resources run at once
    retry: whether cells whose row holds an error are computed again
    allowance: what is left of the run's budget
    """

    def __init__(
        self,
        sources: list[Source],
        places: Places,
        slots: Callable[[Resources], int],
        retry: bool,
        allowance: Allowance | None = None,
    ) -> None:
        super().__init__(metric="done", mode="max")
        self.sources, self.places, self.slots, self.retry = sources, places, slots, retry
        self.allowance = allowance or Allowance()
        self.halt = ""  # why no other pack is handed out
        self.running: dict[str, tuple[Source, Pack]] = {}
        self.reported: set[str] = set()  # trials whose sources know the results
        self.again: list[tuple[Source, Pack]] = []  # packs whose worker died
        self.lost: list[tuple[Source, Pack]] = []  # packs whose workers died at every attempt
        self.seconds: dict[tuple[str, str], float] = {}  # of one cell, by sweep and method
        self.turn = 0

    def suggest(self, trial_id: str) -> Any:
        """Return the next pack; None to wait, FINISHED at the end or when the budget is spent.

        Packs for all slots are out at once, so that actors start together; one more pack is out, so
        that no actor waits for its next.
        """
        if self.halt:
            return None if self.running else Searcher.FINISHED
        if self.again:
            source, pack = self.again.pop()
        else:
            open_sources = [source for source in self.sources if source.left]
            if not open_sources or self.allowance.spent:
                return None if self.running else Searcher.FINISHED
            next_source = self._next_source(open_sources)
            if next_source is None:
                return None
            size = self._size(next_source, self.slots(next_source.sweep.resources))
            if size == 0:
                return None if self.running else Searcher.FINISHED
            source, pack = next_source, self._pack(next_source, size)
        self.running[trial_id] = (source, pack)
        return {"pack": pack, "places": self.places}

    def _next_source(self, open_sources: list[Source]) -> Source | None:
        """Return the source whose turn it is; None if all slots and the spare pack are taken."""
        running = Counter(source.sweep.resources for source, _ in self.running.values())
        slots: dict[Resources, int] = {}
        ready = []
        for source in open_sources:
            resources = source.sweep.resources
            if resources not in slots:
                slots[resources] = self.slots(resources)
            if running[resources] <= slots[resources]:
                ready.append(source)
        if not ready:
            return None
        # Few sources at a time, so that actors reuse the artifacts that they hold in memory.
        few = ready[: slots[ready[0].sweep.resources]]
        source = few[self.turn % len(few)]
        self.turn += 1
        return source

    def _pack(self, source: Source, size: int) -> Pack:
        resources = source.sweep.resources
        cells = source.take(size)
        self.allowance.take(len(cells))
        tuning = []
        for cell in cells:
            behind = source.tuning_of(cell)
            if behind is not None:
                tuning.append((cell.cell_id, behind))
        return Pack(
            sweep=source.sweep.name,
            cells=tuple(cells),
            cpu=resources.cpu,
            gpu=resources.gpu,
            retry=self.retry,
            best=tuple(source.best.scores.items()),
            tuning=tuple(tuning),
        )

    def _size(self, source: Source, slots: int) -> int:
        """Return how many cells a pack takes; 0 where the budget allows none.

        The spec's `cells_per_trial`, if it is set. Else one cell until the seconds of a cell are
        known, then as many as fill `PACK_SECONDS`, but no more than the slot's share of cells left.
        """
        seconds = self.seconds.get((source.sweep.name, source.next_method))
        return self.allowance.cells(self._wanted(source, slots, seconds), seconds)

    def _wanted(self, source: Source, slots: int, seconds: float | None) -> int:
        """Return how many cells a pack would take without a budget."""
        resources = source.sweep.resources
        if resources.cells_per_trial:
            return resources.cells_per_trial
        if seconds is None:
            return 1
        alike = [each for each in self.sources if each.sweep.resources == resources]
        left = sum(each.left for each in alike)
        share = -(-left // slots)
        full = round(PACK_SECONDS / max(seconds, 1e-3))
        return max(1, min(full, share))

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Tell the source the results, once per pack: a trial that is held reports repeatedly."""
        if trial_id in self.reported:
            return
        self.reported.add(trial_id)
        source, pack = self.running[trial_id]
        reports: list[CellReport] = result["reports"]
        self.halt = self.halt or result["halt"]
        for cell, report in zip(pack.cells, reports, strict=not self.halt):
            source.tell(cell, report.val)
            if report.wall_s:  # the last cell counts: artifacts are in memory by then
                self.seconds[source.sweep.name, cell.method_name] = report.wall_s

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Forget a trial that has ended; if its worker died, try its cells again."""
        if not error and result is not None:
            self.on_trial_result(trial_id, result)
        elif trial_id not in self.reported:
            self._try_again(*self.running[trial_id])
        self.reported.discard(trial_id)
        del self.running[trial_id]

    def _try_again(self, source: Source, pack: Pack) -> None:
        """Queue each cell as a pack of its own, so that one that kills its worker harms no other.

        After the last attempt the cells are lost. A worker may have died after writing a row; then
        `run_cell` finds it.
        """
        queue = self.lost if pack.attempt == ATTEMPTS else self.again
        for cell in pack.cells:
            single = replace(pack, cells=(cell,), attempt=pack.attempt + 1)
            queue.append((source, single))

    def record_lost(self) -> None:
        """Write a failed row for each cell whose worker died at every attempt."""
        results = Results(self.places.results)
        while self.lost:
            source, pack = self.lost.pop()
            for cell in pack.cells:
                if results.find(pack.sweep, cell.cell_id) is None:
                    error = (
                        f"the worker died {ATTEMPTS} times on this cell (killed, or out of memory)"
                    )
                    record_failure(self.places, source.sweep, cell, error)

    def save(self, checkpoint_path: str) -> None:
        """Save nothing: the rows are the only record of progress."""

    def restore(self, checkpoint_path: str) -> None:
        """Restore nothing: a new run tells its studies from the rows."""
