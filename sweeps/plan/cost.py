"""Estimate a plan's cost from what earlier work took. No network is trained here.

The seconds of every artifact and cell come from the first source that knows its kind of work: rows
of the same sweep, rows of other sweeps in the results, artifact cards of the store, the store's
calibration file, and last a count of operations.
"""

import heapq
import os
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
from sweeps.spec.cells import Cell, Recipe
from sweeps.spec.sweep import Resources, Sweep
from unlearn.artifacts import Store
from unlearn.models import task_of

# Source -> the factor by which its seconds may be wrong, up or down.
SPREAD = {
    "earlier rows": 1.5,
    "rows of other sweeps": 2.0,
    "artifact cards": 2.0,
    "calibration": 2.0,
    "a count of operations": 4.0,
}
OWN, OTHERS, CARDS, CALIBRATION, OPERATIONS = SPREAD
START_S = (5.0, 20.0)  # seconds until Ray's workers compute: at the least, at the most


@dataclass(frozen=True)
class Slots:
    """How many trials run at once, and where.

    count: of trials with these resources, at least 1
    where: in words
    """

    count: int
    where: str


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


@dataclass(frozen=True)
class Cost:
    """Estimated seconds.

    artifacts: of making each missing artifact, in the plan's order
    cells: of the cells of each sweep, summed; a part per source
    wall_s: by the clock on these slots, at the least and at the most
    slots: of the first sweep with work
    """

    artifacts: tuple[Part, ...]
    cells: tuple[Part, ...]
    wall_s: tuple[float, float]
    slots: Slots

    @property
    def artifacts_s(self) -> float:
        """Seconds of computing for artifacts, on the resources of one trial."""
        return sum(part.seconds for part in self.artifacts)

    @property
    def cells_s(self) -> float:
        """Seconds of computing for cells, on the resources of one trial."""
        return sum(part.seconds for part in self.cells)

    @property
    def sources(self) -> dict[str, float]:
        """Source -> the seconds that it gave, most first."""
        found: dict[str, float] = {}
        for part in (*self.artifacts, *self.cells):
            found[part.source] = found.get(part.source, 0.0) + part.seconds
        return dict(sorted(found.items(), key=lambda pair: -pair[1]))


def estimate(plan: Plan, store: Store, results: Results, joining: bool = False) -> Cost:
    """Estimate the plan's cost.

    joining: whether the run joins a Ray cluster, whose slots are not known yet

    Raises `BadInput` where a model cannot take the data set's images.
    """
    _check_models(plan)
    evidence = Evidence(plan, store, results)
    artifacts = [evidence.artifact(recipe, _device_of(plan, recipe)) for recipe in plan.build]
    cells: list[Part] = []
    low, high = START_S if plan.cells else (0.0, 0.0)
    slots = Slots(1, "")
    for sweep in reversed(plan.sweeps):
        parts = evidence.cells(plan, sweep)
        if not parts:
            continue
        cells += parts
        slots = slots_for(sweep.resources, joining)
        low += sum(part.low for part in parts) / slots.count
        high += sum(part.high for part in parts) / slots.count
    low += makespan(plan.build, [part.low for part in artifacts], slots.count)
    high += makespan(plan.build, [part.high for part in artifacts], slots.count)
    return Cost(tuple(artifacts), tuple(cells), (low, high), slots)


def slots_for(resources: Resources, joining: bool = False) -> Slots:
    """Return how many trials run at once on this machine; one where the run joins a cluster.

    A plan for a GPU, made where there is none, counts the slots of one GPU.
    """
    if joining:
        return Slots(1, "one slot; a cluster divides it by its slots")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    resources = resources.where(gpus=torch.cuda.device_count() > 0)
    count = int((cores or 1) / resources.cpu + 1e-9)
    where = "of this machine"
    if resources.gpu:
        there = torch.cuda.device_count()
        on_gpus = int(max(there, 1) / resources.gpu + 1e-9)
        count = min(count, on_gpus) if there else on_gpus
        where = where if there else "of one GPU, which this machine lacks"
    count = max(1, count)
    return Slots(count, f"{count} slot{'s' if count > 1 else ''} {where}")


def makespan(recipes: tuple[Recipe, ...], seconds: list[float], slots: int) -> float:
    """Return the seconds until all artifacts are made, each after those that it needs.

    recipes: each after what it needs
    """
    free = [0.0] * slots
    ends: dict[str, float] = {}
    for recipe, duration in zip(recipes, seconds, strict=True):
        ready = max((ends.get(need.key, 0.0) for need in recipe.needs), default=0.0)
        start = max(heapq.heappop(free), ready)
        ends[recipe.key] = start + duration
        heapq.heappush(free, ends[recipe.key])
    return max(free)


def device_for(resources: Resources) -> str:
    """Return the device that a trial with these resources computes on, on this machine."""
    return "cuda" if resources.where(gpus=torch.cuda.device_count() > 0).gpu else "cpu"


def _device_of(plan: Plan, recipe: Recipe) -> str:
    """Return the device of the first sweep that can need the artifact."""
    for sweep in plan.sweeps:
        if sweep.dataset == recipe.dataset and (
            recipe.kind == "judge" or recipe.model in sweep.models
        ):
            return device_for(sweep.resources)
    return "cpu"


def _check_models(plan: Plan) -> None:
    """Refuse models that cannot take the images, before anything is computed with them."""
    for recipe in plan.build:
        if recipe.kind == "original":
            batch = dict(recipe.knobs)["batch"]
            operations.check_model(recipe.dataset, recipe.model, recipe.options, batch)


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


def describe(plan: Plan, cost: Cost) -> str:
    """Describe in words what the plan would do, for a terminal."""
    lines = [_describe_sweep(sweep) for sweep in plan.sweeps]
    lines.append(f"artifacts: {len(plan.build)} to build, {len(plan.reuse)} reused")
    lines += [f"  build {recipe.describe()} [{recipe.key}]" for recipe in plan.build]
    errors = ""
    if plan.errors:
        errors = f", {len(plan.errors)} of them with an error (again with --retry-failed)"
    lines.append(f"cells: {plan.cells} to run, {plan.done} done{errors}")
    lines.append(_describe_cost(plan, cost))
    return "\n".join(lines)


def _describe_sweep(sweep: Sweep) -> str:
    models, forget, seeds = len(sweep.models), len(sweep.forget), len(sweep.seeds)
    axes = f"{models} models x {forget} forget sets x {seeds} seeds"
    tasks = ", ".join(sorted(set(map(task_of, sweep.models))))
    points = " x ".join(f"{knob}{list(values)}" for knob, values in sweep.grid)
    parts = [axes, points] if points else [axes]
    if sweep.search:
        _, search = sweep.search[0]
        parts.append(f"{search.trials} {search.sampler} trials per study")
    methods = ", ".join(sweep.methods)
    return f"{sweep.name}: {methods} on {sweep.dataset} ({tasks}): {'; '.join(parts)}"


def _describe_cost(plan: Plan, cost: Cost) -> str:
    if not plan.cells:
        return "cost: nothing; every cell has its row"
    low, high = cost.wall_s
    whole = sum(cost.sources.values()) or 1.0
    basis = [f"{seconds / whole:.0%} {source}" for source, seconds in cost.sources.items()]
    return (
        f"cost: {duration(low)} to {duration(high)} on {cost.slots.where} "
        f"({cost.artifacts_s:.0f} s artifacts and {cost.cells_s:.0f} s cells of computing; "
        f"from {', '.join(basis)})"
    )


def duration(seconds: float) -> str:
    """Return seconds as text: `40 s`, `12 min`, `3.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
