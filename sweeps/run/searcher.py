"""Hand packs of cells from grids and studies to Ray Tune."""

from collections import Counter
from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from typing import Any

from ray.tune.search import Searcher

from sweeps.compute.together import MOST, stack_key
from sweeps.plan.chosen_source import ChosenSource
from sweeps.plan.sources import Source
from sweeps.rows.results import Lookup, Results
from sweeps.run.budget import Allowance
from sweeps.run.places import Places
from sweeps.run.trial import CellReport, Pack, known_row, record_failure, report_of
from sweeps.spec.cells import Cell
from sweeps.spec.sections import Resources
from sweeps.spec.sweep import Sweep
from unlearn.errors import CannotWrite

PACK_SECONDS = 4.0  # Ray adds about 25 ms per trial: less than 1 % of such a pack
ATTEMPTS = 3  # how often a cell is tried whose worker dies

Request = tuple[float, float]  # CPUs and GPUs of a trial
Kind = tuple[str, bool]  # sweep, whether val chose the cells: such cells take longer
STUDY_SLOTS = 4  # of a GPU's trials, that one study fills: else many studies end late


@dataclass(frozen=True)
class Handed:
    """A pack that was handed out, and the source of each of its cells."""

    sources: tuple[Source, ...]
    pack: Pack

    @property
    def sweep(self) -> Sweep:
        return self.sources[0].sweep


class PackSearcher(Searcher):
    """Suggests packs to Ray Tune.

    A pack comes from one source, so its cells share artifacts; where a GPU can unlearn cells as one
    program (`sweeps.compute.together`), it takes such cells from several sources of the sweep.
    Where sweeps leave the share of a GPU open (`gpu_auto`), all start with theirs; once the GPU's
    memory does not hold a cell beside others, all take at least twice the share from then on.
    Packs that ask for other shares wait until those that are out have ended: Tune hands an actor
    that is free on to a pack that asks for the same, and others would never get the GPU.

    A cell that val chose is handed out before all others, as soon as it is known: what an
    interrupted run leaves has then been scored on test, study by study.

    sources: where cells come from
    places: folders and URLs of the run
    slots: how many trials with given resources run at once
    retry: whether cells whose row holds an error are computed again
    allowance: what is left of the run's budget
    lost: called with each cell that gets a failed row because its worker died at every attempt
    """

    def __init__(
        self,
        sources: list[Source],
        places: Places,
        slots: Callable[[Resources], int],
        retry: bool,
        allowance: Allowance | None = None,
        lost: Callable[[Cell], Any] = lambda cell: None,
    ) -> None:
        super().__init__(metric="done", mode="max")
        self.sources, self.places, self.slots, self.retry = sources, places, slots, retry
        self.allowance, self.lost = allowance or Allowance(), lost
        self.halt = ""  # why no other pack is handed out
        self.running: dict[str, Handed] = {}
        self.reported: set[str] = set()  # trials whose sources know the results
        self.again: list[Handed] = []  # packs whose worker died, or had too little memory
        self.seconds: dict[tuple[Kind, str], float] = {}  # of one cell, by kind and method
        self.least = 0.0  # share of a GPU that sweeps ask for which leave it open
        self.turn = 0

    def __getstate__(self) -> dict[str, Any]:
        """Pickle nothing: Tune pickles searchers for a resume that we never use."""
        return {}

    def suggest(self, trial_id: str) -> Any:
        """Return the next pack; None to wait, FINISHED at the end or when the budget is spent.

        Packs for all slots are out at once, so that actors start together; one more pack is out, so
        that no actor waits for its next.
        """
        handed = None
        if not self.halt:
            handed = self._next_again() if self.again else self._next_new()
        if handed is None:
            return None if self.running else Searcher.FINISHED
        self.running[trial_id] = handed
        return {"pack": handed.pack, "places": self.places}

    def _next_again(self) -> Handed | None:
        """Return the next pack that is tried again, or the part of it that the budget allows.

        None where the budget allows none of it, or where packs are out that must end first.
        """
        handed = self._with_share(self.again[-1])
        if self._waits(handed):
            return None
        cells = handed.pack.cells
        seconds = self.seconds.get((kind_of(handed.sources[0]), cells[0].method_name))
        size = self.allowance.retries(len(cells), seconds)
        if size == 0:
            return None
        self.again.pop()
        if size < len(cells):
            self.again.append(part_of(handed, size, len(cells)))
        return part_of(handed, 0, size)

    def _next_new(self) -> Handed | None:
        """Return the next pack of cells that were not handed out yet.

        None where none are left, the budget allows none, or enough packs are out.
        """
        open_sources = self._open_sources()
        if not open_sources or self.allowance.spent:
            return None
        source = self._next_source(open_sources)
        if source is None:
            return None
        size = self._size(source, self.slots(self._resources(source)))
        return self._pack(source, size) if size else None

    def _waits(self, handed: Handed) -> bool:
        """Whether packs are out that ask for another share of a GPU."""
        request = handed.pack.cpu, handed.pack.gpu
        out = {(each.pack.cpu, each.pack.gpu) for each in self.running.values()}
        return any(_compete(request, other) for other in out)

    def _open_sources(self) -> list[Source]:
        """Return the sources that have a cell to hand out, those of chosen cells first."""
        found = [source for source in self.sources if source.left]
        return sorted(found, key=lambda source: not source.chosen)

    def _next_source(self, open_sources: list[Source]) -> Source | None:
        """Return the source whose turn it is; None if all slots and the spare pack are taken."""
        running = Counter((each.pack.cpu, each.pack.gpu) for each in self.running.values())
        slots: dict[Request, int] = {}
        ready = []
        for source in open_sources:
            resources = self._resources(source)
            request = request_of(resources)
            waits = any(_compete(request, other) for other in (*running, *slots))
            if request not in slots:
                slots[request] = self.slots(resources)
            if running[request] <= slots[request] and not waits:
                ready.append(source)
        if not ready:
            return None
        if ready[0].chosen:
            return ready[0]
        # Few sources at a time, so that actors reuse the artifacts that they hold in memory, and
        # studies end one after another.
        request = request_of(self._resources(ready[0]))
        per_study = STUDY_SLOTS if request[1] else 1
        few = ready[: -(-slots[request] // per_study)]
        source = few[self.turn % len(few)]
        self.turn += 1
        return source

    def _resources(self, source: Source) -> Resources:
        """Return what the source's next trial gets."""
        asked = source.sweep.resources
        return replace(asked, gpu=max(asked.gpu, self.least)) if asked.gpu_auto else asked

    def _with_share(self, handed: Handed) -> Handed:
        """Return a pack that is tried again, with the share of a GPU that is asked for by now."""
        resources = self._resources(handed.sources[0])
        pack = replace(handed.pack, gpu=resources.gpu, may_grow=may_grow(resources))
        return replace(handed, pack=pack)

    def _pack(self, source: Source, size: int) -> Handed:
        resources = self._resources(source)
        taken = self._take(source, size)
        cells = tuple(cell for _, cell in taken)
        self.allowance.take(len(cells))
        tuning = []
        for own, cell in taken:
            behind = own.tuning_of(cell)
            if behind is not None:
                tuning.append((cell.cell_id, behind))
        pack = Pack(
            sweep=source.sweep.name,
            cells=cells,
            cpu=resources.cpu,
            gpu=resources.gpu,
            retry=self.retry,
            best=tuple(source.best.scores.items()),
            tuning=tuple(tuning),
            stacked=len(cells) > 1 and stack_key_of(source.sweep, cells[0]) is not None,
            may_grow=may_grow(resources),
        )
        return Handed(tuple(own for own, _ in taken), pack)

    def _take(self, source: Source, size: int) -> list[tuple[Source, Cell]]:
        """Take cells from a source; with cells that can be stacked, also from others like it."""
        key = self._key(source)
        if key is None:
            return [(source, cell) for cell in source.take(size)]
        taken: list[tuple[Source, Cell]] = []
        others = [other for other in self.sources if other is not source]
        alike = [other for other in others if other.sweep == source.sweep]
        for each in [source, *alike]:
            while each.left and len(taken) < size and self._key(each) == key:
                taken += [(each, cell) for cell in each.take(1)]
        return taken

    def _key(self, source: Source) -> Hashable | None:
        """Return the `stack_key_of` the source's next cell."""
        upcoming = source.upcoming
        return None if upcoming is None else stack_key_of(source.sweep, upcoming)

    def _size(self, source: Source, slots: int) -> int:
        """Return how many cells a pack takes; 0 where the budget allows none.

        The spec's `cells_per_trial`, if it is set. Else one cell until the seconds of a cell are
        known, then as many as fill `PACK_SECONDS`, but no more than the slot's share of cells left;
        of cells that can be stacked that share, up to `MOST`. A budget of cells keeps one for each
        cell that val is about to choose.
        """
        seconds = self.seconds.get((kind_of(source), source.next_method))
        wanted = self._wanted(source, slots, seconds)
        kept = 0
        if not source.chosen:
            kept = sum(isinstance(each, ChosenSource) and each.next for each in self.sources)
        return self.allowance.cells(wanted, seconds, kept)

    def _wanted(self, source: Source, slots: int, seconds: float | None) -> int:
        """Return how many cells a pack would take without a budget."""
        resources = source.sweep.resources
        if resources.cells_per_trial:
            return resources.cells_per_trial
        alike = [each for each in self.sources if each.sweep.resources == resources]
        left = sum(each.left for each in alike)
        if self._key(source) is not None:
            out = [len(each.pack.cells) for each in self.running.values() if each.pack.stacked]
            return min(MOST, -(-(left + sum(out)) // slots))
        if seconds is None:
            return 1
        share = -(-left // slots)
        full = round(PACK_SECONDS / max(seconds, 1e-3))
        return max(1, min(full, share))

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Tell the source the results, once per pack: a trial that is held reports repeatedly."""
        if trial_id in self.reported:
            return
        self.reported.add(trial_id)
        handed = self.running[trial_id]
        reports: list[CellReport] = result["reports"]
        self.halt = self.halt or result["halt"]
        crowded = result["crowded"]
        stopped = bool(self.halt or crowded)
        told = zip(handed.sources, handed.pack.cells, reports, strict=not stopped)
        for source, cell, report in told:
            source.tell(cell, report.val, report.spent_s)
            if report.wall_s:  # the last cell counts: artifacts are in memory by then
                self.seconds[kind_of(source), cell.method_name] = report.wall_s
        if crowded and not self.halt:
            self._grow(handed, len(reports))

    def _grow(self, handed: Handed, done: int) -> None:
        """Ask for twice the share of a GPU from now on; queue the cells that are not done."""
        self.least = max(self.least, min(1.0, 2 * handed.pack.gpu))
        self.again.append(part_of(handed, done, len(handed.pack.cells)))

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Forget a trial that has ended; if its worker died, try its cells again."""
        if not error and result is not None:
            self.on_trial_result(trial_id, result)
        elif trial_id not in self.reported:
            self._try_again(self.running[trial_id])
        self.reported.discard(trial_id)
        del self.running[trial_id]

    def _try_again(self, handed: Handed) -> None:
        """Queue each cell as a pack of its own, so that one that kills its worker harms no other.

        After the last attempt the cells are lost. A worker may have died after writing a row; then
        `run_cell` finds it.
        """
        pack = handed.pack
        for source, cell in zip(handed.sources, pack.cells, strict=True):
            if pack.attempt == ATTEMPTS:
                self._lose(source, cell)
                continue
            single = replace(pack, cells=(cell,), attempt=pack.attempt + 1, stacked=False)
            self.again.append(Handed((source,), single))

    def _lose(self, source: Source, cell: Cell) -> None:
        """Write a failed row for a cell whose worker died at every attempt, unless it has a row."""
        results = Results(self.places.results)
        error = f"the worker died {ATTEMPTS} times on this cell (killed, or out of memory)"
        try:
            row = results.find(source.sweep.name, cell.cell_id)
            if row is None:
                row = record_failure(self.places, source.sweep, cell, error)
        except CannotWrite as halt:
            self.halt = str(halt)
            return
        self.lost(cell)
        report = report_of(row, wall_s=0.0)
        source.tell(cell, report.val, report.spent_s)

    def written(self) -> list[CellReport]:
        """Return the reports of cells queued for another try that have a row all the same.

        Their worker died after writing it, and the budget was spent before they were asked for.
        """
        results = Results(self.places.results)
        reports = []
        for handed in self.again:
            lookup = Lookup(results, handed.pack.sweep)
            rows = [known_row(lookup, handed.pack, cell) for cell in handed.pack.cells]
            reports += [report_of(row, wall_s=0.0) for row in rows if row is not None]
        return reports

    def save(self, checkpoint_path: str) -> None:
        """Save nothing: the rows are the only record of progress."""

    def restore(self, checkpoint_path: str) -> None:
        """Restore nothing: a new run tells its studies from the rows."""


def part_of(handed: Handed, start: int, stop: int) -> Handed:
    """Return the pack's cells from `start` to before `stop`, as a pack of their own."""
    cells = handed.pack.cells[start:stop]
    pack = replace(handed.pack, cells=cells, stacked=handed.pack.stacked and len(cells) > 1)
    return Handed(handed.sources[start:stop], pack)


def request_of(resources: Resources) -> Request:
    """Return what Tune tells actors apart by."""
    return resources.cpu, resources.gpu


def may_grow(resources: Resources) -> bool:
    """Whether a trial with these resources may ask for a larger share of its GPU."""
    return resources.gpu_auto and resources.gpu < 1


def _compete(ours: Request, theirs: Request) -> bool:
    """Whether trials with these requests keep each other from a GPU."""
    return ours != theirs and ours[1] > 0 and theirs[1] > 0


def kind_of(source: Source) -> Kind:
    """Return what cells of a source have in common that take as long."""
    return source.sweep.name, source.chosen


def stack_key_of(sweep: Sweep, cell: Cell) -> Hashable | None:
    """Return the cell's `stack_key`; None where trials have no GPU: a CPU gains nothing by it."""
    return stack_key(cell) if sweep.resources.gpu > 0 else None
