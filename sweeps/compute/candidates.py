"""Candidates: cells that are read on val alone until one of them is chosen.

With `eval: {candidates: val}` every point of a grid or a study is a candidate. It is read on val
only as long as it can still beat the best one so far; the chosen cell is then scored in full.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from sweeps.compute.cache import WorkerCache
from sweeps.compute.cell import making_seconds, unlearn
from sweeps.compute.outcome import Outcome, Stopwatch
from sweeps.spec.cells import Cell, subset_of
from unlearn.early_stop import ValReader
from unlearn.hardest_first import HardestFirst
from unlearn.methods.task_arithmetic import TaskArithmetic
from unlearn.streams import stream

FORGET_WEIGHT = 1.5  # 1 point of forget accuracy weighs as much as 1.5 of retain accuracy

# What counts as forgotten on val: the first of these columns that holds a value. A generator must
# not draw any forgotten class under a forgotten label; rows of older versions lack that column.
VAL_FORGET = ("val_forget_any_probability", "val_forget_probability", "val_forget_accuracy")
GAP = ("train_forget_accuracy", "oracle_train_forget_accuracy")  # what `forget_gap` reads
SELECTION = (*VAL_FORGET, "val_retain_accuracy", "subset", *GAP)  # all that a choice reads


def forget_gap(row: Any) -> Any:
    """Return |accuracy on forgotten training images - the oracle's|, of a row or of a table.

    Where no whole class is forgotten, the oracle still knows most forgotten images: that, and not
    0, is the target.
    """
    own, oracle = GAP
    return abs(row[own] - row[oracle])


def selection_score(forget: Any, retain: Any) -> Any:
    """Return retain - 1.5 forget, by which cells are chosen. Takes floats or pandas columns."""
    return retain - FORGET_WEIGHT * forget


@dataclass(frozen=True)
class ValScores:
    """The scores of a cell on val.

    forget: share of forgotten images still recognised (classifiers), or the probability that judge
        `val` gives all forgotten classes together on forgotten labels (generators); lower is better
    retain: accuracy on the kept classes; higher is better
    stopped: whether only part of val was read, because the cell could no longer win
    """

    forget: float
    retain: float
    stopped: bool = False

    @property
    def score(self) -> float:
        """The `selection_score`."""
        return float(selection_score(self.forget, self.retain))


def val_scores(row: Mapping[Any, Any]) -> ValScores | None:
    """Read the val scores out of a row; None where it failed or holds none."""
    if row["status"] != "ok":
        return None
    read = [_number(row, column) for column in VAL_FORGET]
    forget = next((value for value in read if value is not None), None)
    if subset_of(row):
        forget = forget_gap(row)
    retain = _number(row, "val_retain_accuracy")
    if forget is None or retain is None:
        return None
    stopped = row.get("val_stopped")  # null for a cell that was scored in full
    return ValScores(forget, retain, stopped=not pd.isna(stopped) and bool(stopped))


def _number(row: Mapping[Any, Any], column: str) -> float | None:
    value = row.get(column)
    return None if value is None or pd.isna(value) else float(value)


class BestSoFar:
    """The best score on val per method, of the candidates that were read on all of val."""

    def __init__(self, known: Iterable[tuple[str, float]] = ()) -> None:
        self.scores = dict(known)

    def of(self, method: str) -> float:
        """Return the method's best score; -inf where nothing was read yet."""
        return self.scores.get(method, -math.inf)

    def update(self, method: str, val: ValScores | None) -> None:
        """Count one more candidate, unless it has no scores (None) or stopped early."""
        if val is not None and not val.stopped:
            self.scores[method] = max(self.of(method), val.score)


def compute_candidate(cache: WorkerCache, cell: Cell, best: float) -> Outcome:
    """Unlearn, then read val only as long as the cell can still reach the score `best`."""
    watch = Stopwatch()
    needs = cache.needs(cell)
    reader = cache.keep(make_reader, cell.problem.dataset, cell.problem.forget)
    seconds = {"artifacts_s": watch.lap()}

    model = candidate_model(cache, cell, needs)
    seconds["unlearn_s"] = watch.lap()

    read = reader.run(model, FORGET_WEIGHT, best)
    seconds["evaluate_s"] = watch.lap()

    accuracies = {
        "val_forget_accuracy": read.forget,
        "val_retain_accuracy": read.retain,
        "val_images": read.images,
        "val_stopped": read.stopped,
        "val_bar": best if read.stopped else None,
    }
    return Outcome({**accuracies, **seconds, **making_seconds(cache, cell)})


def make_reader(cache: WorkerCache, dataset: str, forget: tuple[int, ...]) -> ValReader:
    """Return a reader of val, shared by all cells that forget the same classes."""
    return ValReader(cache.splits(dataset, forget).val)


def candidate_model(cache: WorkerCache, cell: Cell, needs: dict[str, Any]) -> Any:
    """Return the cell's model, valid until the next call.

    All candidates of task arithmetic are written into one scratch network.
    """
    problem, method = cell.problem, cell.method
    if not isinstance(method, TaskArithmetic):
        return cache.build(problem.original, unlearn(cache, cell, needs).weights)
    writer = cache.writer(problem.original, problem.expert)
    splits = cache.splits(*problem.divided)
    generator = stream(problem.seed, "unlearn", cell.method_name, device=cache.device)
    return method.write_candidate(writer, splits, generator)


@dataclass(frozen=True)
class Tuning:
    """The candidates that a chosen cell was chosen from.

    candidates: the cells of its method that were read on val
    seconds: of unlearning and reading them
    bound: the chosen cell's knobs that lie at an end of the spec's ranges, as `alpha low`
    """

    candidates: Sequence[Cell]
    seconds: float
    bound: tuple[str, ...] = ()


def tuning_columns(tuning: Tuning) -> dict[str, Any]:
    """Return what a cell was chosen from, the seconds that took, and the ends it lies at."""
    return {
        "tuning_candidates": len(tuning.candidates),
        "tuning_s": tuning.seconds,
        "bound": list(tuning.bound),
    }


def regret_columns(cache: WorkerCache, cell: Cell, tuning: Tuning) -> dict[str, Any]:
    """Return what choosing `cell` on val cost on test; {} for methods that are not closed-form.

    Their candidates would have to be trained again.
    """
    if not cell.method.closed_form:
        return {}
    watch = Stopwatch()
    regret = selection_regret(cache, cell, tuning.candidates)
    return {"selection_regret": regret, "regret_s": watch.lap()}


def selection_regret(cache: WorkerCache, cell: Cell, candidates: Iterable[Cell]) -> float:
    """Return the best candidate's `selection_score` on test minus the chosen `cell`'s, at least 0.

    Each candidate is read only as long as it can still be the best.
    """
    problem = cell.problem
    test = cache.splits(problem.dataset, problem.forget).test
    chosen_model = candidate_model(cache, cell, cache.needs(cell))
    references = [cache.model(problem.original), chosen_model]
    reader = HardestFirst(test, references, FORGET_WEIGHT)
    chosen = best = reader.highest(chosen_model)
    for other in candidates:
        model = candidate_model(cache, other, cache.needs(other))
        best = reader.highest(model, best)
    return best - chosen
