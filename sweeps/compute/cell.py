"""Compute one cell in full: unlearn, score, attack."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sweeps.compute.attacks import attack
from sweeps.compute.cache import WorkerCache
from sweeps.compute.gpu import BusyWatch
from sweeps.compute.outcome import Outcome, Stopwatch
from sweeps.compute.recorder import Recorder
from sweeps.spec.cells import Cell
from unlearn.capture import StepReport, step_reports
from unlearn.methods import Unlearned
from unlearn.models import Weights
from unlearn.streams import seeded, stream


@dataclass(frozen=True)
class Made:
    """An unlearned model that is not scored yet.

    unlearned: what the method gave
    columns: seconds, and how the steps were taken
    recorder: of images that the model drew on the way; None where there is none
    """

    unlearned: Unlearned
    columns: Mapping[str, Any]
    recorder: Recorder | None

    @property
    def seconds(self) -> float:
        """What making it took; where several were made together, its share."""
        return float(self.columns["artifacts_s"] + self.columns["unlearn_s"])


def compute(cache: WorkerCache, cell: Cell, made: Made | None = None) -> Outcome:
    """Unlearn, score against original and oracle, attack, and store pictures and weights.

    made: where the cell was unlearned already, together with others

    Models of the cache come back as they were, whatever the method or an attack did to them.
    """
    problem = cell.problem
    compared = [problem.original, problem.oracle, *problem.judges.values()]
    if problem.eval.second_oracle:
        compared.append(problem.second_oracle)
    with cache.lending():
        for recipe in compared:
            cache.model(recipe)  # evidence and attacks keep them from earlier cells
        return _compute(cache, cell, made)


def _compute(cache: WorkerCache, cell: Cell, made: Made | None) -> Outcome:
    watch = Stopwatch()
    problem = cell.problem
    references = cache.references(problem)
    artifacts_s = watch.lap()
    if made is None:
        made = make(cache, cell)
    weights = made.unlearned.weights
    watch.lap()

    subject = cache.evaluator(problem).observe(cache.build(problem.original, weights))
    scores = references.score(subject)
    seconds = {"evaluate_s": watch.lap()}

    found, pictures = attack(cache, cell, weights)
    seconds["attack_s"] = watch.lap()

    if made.recorder is not None:
        pictures |= made.recorder.pictures()
    if pictures:
        cache.store.save("pictures", cell.cell_id, pictures, {"cell": cell.describe()})
    error = found.pop("error", None)
    columns = {**scores, **found, **_curve(made.unlearned), **seconds, **made.columns}
    columns["artifacts_s"] += artifacts_s
    columns |= making_seconds(cache, cell)
    if not cell.method.closed_form:
        save_weights(cache, cell, weights)
        columns["artifact_unlearned"] = cell.cell_id
    return Outcome(columns, error=error)


def make(cache: WorkerCache, cell: Cell) -> Made:
    """Unlearn one cell by itself."""
    watch = Stopwatch()
    recorder = recorder_of(cache, cell)
    needs = cache.needs(cell)
    if recorder is not None:
        needs["watch"] = recorder
    columns: dict[str, Any] = {"artifacts_s": watch.lap()}
    with step_reports() as reports, BusyWatch(cache.device) as busy:
        unlearned = unlearn(cache, cell, needs)
    columns |= {"gpu_busy": busy.share, "unlearn_s": watch.lap()}
    columns |= {"stacked": 1, "step_captured": steps_captured(reports)}
    return Made(unlearned, columns, recorder)


def unlearn(cache: WorkerCache, cell: Cell, needs: dict[str, Any]) -> Unlearned:
    """Run the cell's method on the original; all of its random numbers follow from the cell."""
    problem, name = cell.problem, cell.method_name
    original = cache.model(problem.original)
    splits = cache.splits(*problem.divided)
    generator = stream(problem.seed, "unlearn", name, device=cache.device)
    with cache.lending(), seeded(problem.seed, "unlearn", name):
        return cell.method(original, splits, generator, **needs)


def recorder_of(cache: WorkerCache, cell: Cell) -> Recorder | None:
    """Return a recorder of a generator's images; None for classifiers and methods without steps."""
    problem, steps = cell.problem, getattr(cell.method, "steps", None)
    if problem.task != "generator" or steps is None:
        return None
    original = cache.model(problem.original)
    return Recorder(original.z_dim, original.classes, steps, problem.seed, cache.device)


def save_weights(cache: WorkerCache, cell: Cell, weights: Weights) -> None:
    """Store unlearned weights under the `cell_id`."""
    card = {"cell": cell.describe(), "forget": list(cell.problem.forget)}
    cache.store.save("unlearned", cell.cell_id, weights, card)


def making_seconds(cache: WorkerCache, cell: Cell) -> dict[str, float]:
    """Return the seconds of making artifacts, from their cards.

    oracle_s: training the oracle
    needs_s: making the artifacts that the method needs beside the original
    """
    recipes = cell.recipes()
    kinds = {need.removesuffix("s") for need in cell.method.needs}  # `experts` are several `expert`
    needs_s = 0.0
    for role, recipe in recipes.items():
        if recipe.kind in kinds and role != "second-oracle":
            needs_s += cache.seconds(recipe)
    return {"oracle_s": cache.seconds(recipes["oracle"]), "needs_s": needs_s}


def steps_captured(reports: list[StepReport]) -> bool | None:
    """Return whether all training steps ran as CUDA graphs; None where none ran on a GPU."""
    on_gpu = [report for report in reports if report.device != "cpu"]
    return all(report.captured for report in on_gpu) if on_gpu else None


def _curve(unlearned: Unlearned) -> dict[str, Any]:
    """Return the loss curve as columns; {} for a method without a training loss."""
    curve = unlearned.curve
    terms = [name for name in curve if name != "step"]
    if not terms:
        return {}
    values = [curve[name] for name in terms]
    return {"curve_terms": terms, "curve_step": curve["step"], "curve": values}
