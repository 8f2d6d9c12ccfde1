"""Estimate a plan's cost by the clock on the slots that there are. No network is trained here."""

import heapq
import os
from dataclasses import dataclass

import torch

from sweeps.plan import operations
from sweeps.plan.evidence import Evidence, Part, device_for
from sweeps.plan.plan import Plan
from sweeps.rows.results import Results
from sweeps.spec.recipes import Recipe
from sweeps.spec.sections import Resources
from unlearn.artifacts import Store

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
