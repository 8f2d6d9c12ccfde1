"""Find the seconds that a plan's artifacts and cells take in what earlier work took.

They come from the first source that knows the kind of work: rows of the same sweep, rows of other
sweeps in the results, artifact cards of the store, the store's calibration file, and last a count
of operations.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch

from sweeps.plan import operations
from sweeps.plan.plan import Plan
from sweeps.plan.timings import (
    COLUMNS,
    Kind,
    Rates,
    attacking,
    making,
    rates_of_cards,
    rates_of_rows,
    read_calibration,
    scoring,
    unlearning,
)
from sweeps.rows.results import Results
from sweeps.spec.cells import Cell
from sweeps.spec.recipes import Recipe
from sweeps.spec.sections import Resources
from sweeps.spec.sweep import Sweep
from unlearn.artifacts import Store

# Source -> the factor by which its seconds may be wrong, up or down.
SPREAD = {
    "earlier rows": 1.5,
    "rows of other sweeps": 2.0,
    "artifact cards": 2.0,
    "calibration": 2.0,
    "a count of operations": 4.0,
}
OWN, OTHERS, CARDS, CALIBRATION, OPERATIONS = SPREAD


@dataclass(frozen=True)
class Part:
    """Estimated seconds, and the source that they come from: a key of `SPREAD`."""

    seconds: float
    source: str

    def times(self, factor: float) -> "Part":
        """Return the part, so many times."""
        return Part(self.seconds * factor, self.source)

    @property
    def low(self) -> float:
        """The seconds at the least."""
        return self.seconds / SPREAD[self.source]

    @property
    def high(self) -> float:
        """The seconds at the most."""
        return self.seconds * SPREAD[self.source]


def device_for(resources: Resources) -> str:
    """Return the device that a trial with these resources computes on, on this machine."""
    return "cuda" if resources.where(gpus=torch.cuda.device_count() > 0).gpu else "cpu"


@dataclass(frozen=True)
class Source:
    """A source of rates that is read when it is first asked.

    name: a key of `SPREAD`
    read: reads its rates
    """

    name: str
    read: Callable[[], Rates]

    @cached_property
    def rates(self) -> Rates:
        return self.read()


@dataclass
class Evidence:
    """What is known of seconds, and the estimates that follow from it."""

    plan: Plan
    store: Store
    results: Results
    known: dict[tuple[object, ...], tuple[Part, ...]] = field(default_factory=dict)

    @cached_property
    def sources(self) -> tuple[Source, ...]:
        """The sources that measured something, best first."""
        return (
            Source(OWN, lambda: self.plan.rates),
            Source(OTHERS, self._other_rows),
            Source(CARDS, self._cards),
            Source(CALIBRATION, lambda: read_calibration(self.store)),
        )

    def _other_rows(self) -> Rates:
        own = {sweep.name for sweep in self.plan.sweeps}
        if own.issuperset(self.results.sweeps()):
            return Rates()
        rows = self.results.read(columns=COLUMNS)
        return rates_of_rows(rows[~rows["sweep"].isin(own)])

    def _cards(self) -> Rates:
        wanted: dict[str, list[str]] = {recipe.kind: [] for recipe in self.plan.build}
        wanted |= {kind: [] for kind in ("original", "oracle")}
        for recipe in self.plan.reuse:
            wanted.setdefault(recipe.kind, []).append(recipe.key)
        return rates_of_cards(self.store, wanted)

    def _measured(self, kind: Kind, units: float) -> Part | None:
        """Return what the first source that knows the kind of work says; None where none does."""
        for source in self.sources:
            rate = source.rates.of(kind)
            if rate is None:
                rate = source.rates.similar(kind)
            if rate is not None:
                return Part(rate * units, source.name)
        return None

    def artifact(self, recipe: Recipe, device: str) -> Part:
        """Estimate the making of an artifact."""
        kind, units = making(recipe, device)
        if units == 0:
            return Part(0.0, CARDS)
        counted = operations.making_seconds
        measured = self._measured(kind, units)
        return measured or Part(counted(recipe, units, device), OPERATIONS)

    def cell(self, cell: Cell, device: str) -> tuple[Part, ...]:
        """Estimate a cell: unlearning, scoring, attacks; once for all problems of a model."""
        problem, method = cell.problem, cell.method
        steps, batch = getattr(method, "steps", 0), getattr(method, "batch", 0)
        evaluation = problem.eval
        budget = (steps, getattr(method, "epochs", 0.0), batch, len(problem.forget))
        key = (type(method), budget, problem.dataset, problem.model, evaluation, device)
        if key not in self.known:
            parts = [self._unlearning(cell, device), self._scoring(cell, device)]
            parts += self._attacks(cell, device)
            self.known[key] = tuple(parts)
        return self.known[key]

    def _unlearning(self, cell: Cell, device: str) -> Part:
        """Estimate unlearning; from training steps where steps of the method are unknown."""
        kind, units = unlearning(cell, device)
        measured = self._measured(kind, units)
        steps = operations.steps_of(cell)
        if measured is None and kind.batch and steps > 1:
            training = self._measured(replace(kind, work="train"), steps)
            if training is not None:
                return training.times(operations.passes(cell))
        return measured or Part(operations.unlearning_seconds(cell, device), OPERATIONS)

    def _scoring(self, cell: Cell, device: str) -> Part:
        measured = self._measured(scoring(cell, device), 1.0)
        return measured or Part(operations.scoring_seconds(cell, device), OPERATIONS)

    def _attacks(self, cell: Cell, device: str) -> list[Part]:
        asked = attacking(cell, device)
        if asked is None:
            return []
        measured = self._measured(*asked)
        return [measured or Part(operations.attacking_seconds(cell), OPERATIONS)]

    def cells(self, plan: Plan, sweep: Sweep) -> list[Part]:
        """Estimate all cells of one sweep that are left: the sum of every source."""
        device = device_for(sweep.resources)
        sums: dict[str, float] = {}
        for cell, count in _cells_left(plan, sweep):
            for part in self.cell(cell, device):
                sums[part.source] = sums.get(part.source, 0.0) + count * part.seconds
        return [Part(seconds, source) for source, seconds in sums.items()]


def _cells_left(plan: Plan, sweep: Sweep) -> Iterator[tuple[Cell, int]]:
    """Yield (cell, how many like it are left) for cells of one problem that cost the same."""
    for work in plan.work:
        if work.sweep.name != sweep.name:
            continue
        examples: dict[tuple[object, ...], Cell] = {}
        counts: Counter[tuple[object, ...]] = Counter()
        for cell in work.cells_left():
            method = cell.method
            budget = (getattr(method, "steps", 0), getattr(method, "epochs", 0.0))
            key = (type(method), budget, getattr(method, "batch", 0))
            examples.setdefault(key, cell)
            counts[key] += 1
        for kind, cell in examples.items():
            yield cell, counts[kind]
