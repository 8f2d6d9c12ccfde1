"""Estimate a plan's cost: from rows of the same sweep, else from training steps timed here."""

import time
from dataclasses import dataclass
from typing import Any

import torch

from sweeps.compute.cache import threads
from sweeps.plan.plan import Plan
from sweeps.spec.cells import Cell, Recipe, architecture
from sweeps.spec.sweep import Knobs, Sweep
from unlearn.data import DATASETS
from unlearn.errors import BadInput, lookup
from unlearn.models import build, task_of
from unlearn.splits import Images
from unlearn.streams import stream
from unlearn.train import Training, fit


@dataclass(frozen=True)
class Cost:
    """Estimated seconds, on the resources of one trial.

    artifacts_s: of making the missing artifacts
    cells_s: of computing the cells
    measured: the part of `cells_s` that comes from earlier rows
    """

    artifacts_s: float
    cells_s: float
    measured: float


def estimate(plan: Plan) -> Cost:
    """Estimate the plan's cost from earlier rows, else from training steps timed here and now."""
    steps = StepTimer()
    artifacts = sum(steps.of_recipe(recipe) for recipe in plan.build)
    cells = measured = 0.0
    for work in plan.work:
        past = plan.seconds.get(work.sweep.name)
        if past is None:
            cells += sum(map(steps.of_cell, work.cells_left()))
        else:
            cells += work.left * past
            measured += work.left * past
    return Cost(artifacts, cells, measured)


class StepTimer:
    """Times training steps of each model here, on one thread, once per model and batch size."""

    def __init__(self) -> None:
        self.seconds: dict[tuple[str, str, int, Knobs], float] = {}

    def step(self, dataset: str, model: str, batch: int, options: Knobs = ()) -> float:
        """Return the seconds of one training step on a batch of that size."""
        key = (dataset, model, batch, options)
        if key not in self.seconds:
            self.seconds[key] = _time_step(*key)
        return self.seconds[key]

    def of_recipe(self, recipe: Recipe) -> float:
        """Return the seconds of making an artifact; the factors of judges and Fisher are rough."""
        knobs = dict(recipe.knobs)
        if recipe.kind == "judge":
            step = self.step(recipe.dataset, "cnn", 64)
            return float(knobs["steps"]) * step * 2
        if recipe.kind == "fisher":
            batches = knobs["fisher_samples"] / 500
            step = self.step(recipe.dataset, recipe.model, 500, recipe.options)
            return float(batches) * step * 1.5
        steps = knobs.get("steps", knobs.get("expert_steps", 0))
        step = self.step(recipe.dataset, recipe.model, knobs["batch"], recipe.options)
        return float(steps) * step

    def of_cell(self, cell: Cell) -> float:
        """Return the seconds of a cell: its method's steps, and scoring its images.

        A method that replays reads two batches per step. Attacks are not counted.
        """
        problem, method = cell.problem, cell.method
        steps = 0 if method.closed_form else getattr(method, "steps", 0)
        passes = 2 if hasattr(method, "gamma") else 1
        batch = getattr(method, "batch", 64)
        step = self.step(problem.dataset, problem.model, batch, problem.options)
        unlearning = steps * passes * step
        images = 5000
        if problem.task == "generator":
            images = problem.eval.samples * DATASETS[problem.dataset].classes * 2
        reading = images / 500 * self.step(problem.dataset, "cnn", 500) / 3
        return float(unlearning + reading)


def _time_step(dataset: str, model: str, batch: int, options: Knobs, steps: int = 6) -> float:
    """Return the seconds per step on random pixels of the data set's shape; reads no data."""
    source = lookup("data set", dataset, DATASETS)
    pixels = torch.randint(256, (batch, *source.shape)).to(torch.uint8)
    images = Images(pixels, torch.arange(batch) % source.classes)
    network = build(model, source.shape, source.classes, options=architecture(options))
    try:
        with threads(1):
            return _seconds_per_step(network, images, batch, steps)
    except BadInput:
        raise
    except (RuntimeError, ValueError) as error:
        shape = " x ".join(map(str, source.shape))
        why = " ".join(str(error).split())
        raise BadInput(
            f"model {model} cannot take {batch} images of {dataset}, {shape} each ({why}); "
            "change model or batch"
        ) from error


def _seconds_per_step(network: Any, images: Images, batch: int, steps: int) -> float:
    """Return the seconds per step of `fit`, after two steps that are not timed."""
    fit(network, images, Training(2, batch, 1e-6), stream(0, "warm"))
    started = time.perf_counter()
    fit(network, images, Training(steps, batch, 1e-6), stream(0, "time"))
    return (time.perf_counter() - started) / steps


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
    basis = "earlier rows"
    if not cost.measured:
        attacked = any(sweep.eval.attacks for sweep in plan.sweeps)
        basis = "training steps timed here just now" + (", attacks not counted" if attacked else "")
    minutes = (cost.artifacts_s + cost.cells_s) / 60
    return (
        f"cost: about {minutes:.1f} minutes of one trial's resources "
        f"({cost.artifacts_s:.0f} s artifacts, {cost.cells_s:.0f} s cells; from {basis})"
    )
