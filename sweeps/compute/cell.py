"""What a cell comes to: unlearn, score, attack; or, of a candidate, as much of val as it takes."""

import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from sweeps.choose.choose import FORGET_WEIGHT
from sweeps.compute.attacks import attack
from sweeps.compute.cache import WorkerCache
from sweeps.compute.recorder import Recorder
from sweeps.spec.cells import Cell
from unlearn.early_stop import ValReader
from unlearn.methods import METHODS, Unlearned, make_method
from unlearn.methods.task_arithmetic import TaskArithmetic
from unlearn.metrics import score
from unlearn.streams import seeded, stream


def compute(cache: WorkerCache, cell: Cell) -> dict[str, Any]:
    """Unlearn and score: the row's curve, seconds and scores."""
    started = time.perf_counter()
    problem = cell.problem
    original, oracle = (
        cache.evidence(problem, problem.original),
        cache.evidence(problem, problem.oracle),
    )
    needs, evaluator = cache.needs(cell), cache.evaluator(problem)
    loaded = time.perf_counter()
    film = film_of(cache, cell)
    made = unlearn(cache, cell, needs if film is None else {**needs, "watch": film})
    unlearned = time.perf_counter()
    subject = evaluator.observe(cache.build(problem.original, made.weights))
    scores = score(problem.task, evaluator, subject, original, oracle)
    evaluated = time.perf_counter()
    found, pictures = attack(cache, cell, made.weights)
    attacked = time.perf_counter()
    pictures |= film.pictures() if film is not None else {}
    if pictures:
        cache.store.save("pictures", cell.cell_id, pictures, {"cell": cell.describe()})
    if not METHODS[cell.method].closed_form:
        card = {"cell": cell.describe(), "forget": list(problem.forget)}
        cache.store.save("unlearned", cell.cell_id, made.weights, card)
        scores["artifact_unlearned"] = cell.cell_id
    seconds = {
        "artifacts_s": loaded - started,
        "unlearn_s": unlearned - loaded,
        "evaluate_s": evaluated - unlearned,
    }
    seconds["attack_s"] = attacked - evaluated
    return {**scores, **found, **_curve(made), **seconds, **_made_s(cache, cell)}


def compute_candidate(cache: WorkerCache, cell: Cell, bar: float) -> dict[str, Any]:
    """Unlearn and read on val as long as `bar` is within reach: the row's accuracies and seconds."""
    started = time.perf_counter()
    needs, reader = (
        cache.needs(cell),
        cache.keep(make_reader, cell.problem.dataset, cell.problem.forget, "val"),
    )
    loaded = time.perf_counter()
    model = candidate(cache, cell, needs)
    unlearned = time.perf_counter()
    race = reader.run(model, FORGET_WEIGHT, bar)
    seconds = {"artifacts_s": loaded - started, "unlearn_s": unlearned - loaded}
    return {
        "val_forget_accuracy": race.forget,
        "val_retain_accuracy": race.retain,
        "val_images": race.images,
        "val_stopped": race.stopped,
        "val_bar": bar if race.stopped else None,
        **seconds,
        "evaluate_s": time.perf_counter() - unlearned,
        **_made_s(cache, cell),
    }


def make_reader(cache: WorkerCache, dataset: str, forget: tuple[int, ...], split: str) -> ValReader:
    """Kept between all cells that forget the same of the same."""
    return ValReader(getattr(cache.splits(dataset, forget), split))


@dataclass(frozen=True)
class Tuning:
    """What stood behind a choice: the candidates that were read on val, and the seconds that they took."""

    candidates: tuple[Cell, ...]
    seconds: float


def tuned(cache: WorkerCache, cell: Cell, tuning: Tuning) -> dict[str, Any]:
    """What the choice of `cell` took, and where candidates need not be trained again, what it cost."""
    found: dict[str, Any] = {
        "tuning_candidates": len(tuning.candidates),
        "tuning_s": tuning.seconds,
    }
    if not METHODS[cell.method].closed_form:
        return found
    started = time.perf_counter()
    regret = selection_regret(cache, cell, tuning.candidates)
    return {**found, "selection_regret": regret, "regret_s": time.perf_counter() - started}


def selection_regret(cache: WorkerCache, cell: Cell, candidates: Iterable[Cell]) -> float:
    """The best score on test (retain - 1.5 forget) of any candidate minus that of the chosen `cell`, at least 0: what
    choosing on test would have seemed to gain. Each is read only as long as it can still be the best."""
    reader = cache.keep(make_reader, cell.problem.dataset, cell.problem.forget, "test")

    def read(of: Cell, bar: float) -> float:
        race = reader.run(candidate(cache, of, cache.needs(of)), FORGET_WEIGHT, bar)
        return bar if race.stopped else race.score(FORGET_WEIGHT)

    best = own = read(cell, -math.inf)
    for other in candidates:
        best = max(best, read(other, best))
    return best - own


def candidate(cache: WorkerCache, cell: Cell, needs: dict[str, Any]) -> Any:
    """The cell's model; of task arithmetic in the one scratch network that all its candidates are written into."""
    problem, method = cell.problem, make_method(cell.method, dict(cell.knobs))
    if not isinstance(method, TaskArithmetic):
        return cache.build(problem.original, unlearn(cache, cell, needs).weights)
    writer, splits = (
        cache.writer(problem.original, problem.expert),
        cache.splits(problem.dataset, problem.forget),
    )
    return method.operate(
        writer, splits, stream(problem.seed, "unlearn", cell.method, device=cache.device)
    )


def _made_s(cache: WorkerCache, cell: Cell) -> dict[str, float]:
    """Seconds that retraining took, and what the method needs beside the original (an oracle, if it is `retrain`)."""
    recipes, wanted = cell.recipes(), METHODS[cell.method].needs
    needs = [
        recipe for recipe in recipes.values() if {recipe.kind, f"{recipe.kind}s"} & set(wanted)
    ]
    return {
        "oracle_s": cache.seconds(recipes["oracle"]),
        "needs_s": sum(map(cache.seconds, needs), 0.0),
    }


def unlearn(cache: WorkerCache, cell: Cell, needs: dict[str, Any]) -> Unlearned:
    """Run the cell's method; all of its randomness follows from the cell."""
    problem = cell.problem
    splits = cache.splits(problem.dataset, problem.forget)
    generator = stream(problem.seed, "unlearn", cell.method, device=cache.device)
    with seeded(problem.seed, "unlearn", cell.method):
        return make_method(cell.method, dict(cell.knobs))(
            cache.model(problem.original), splits, generator, **needs
        )


def film_of(cache: WorkerCache, cell: Cell) -> Recorder | None:
    """What watches a generator forget step by step; a classifier has nothing to show."""
    problem, steps = cell.problem, dict(cell.knobs).get("steps")
    if problem.task != "generator" or steps is None:
        return None
    original = cache.model(problem.original)
    return Recorder(original.z_dim, original.classes, steps, problem.seed, cache.device)


def _curve(made: Unlearned) -> dict[str, Any]:
    terms = [name for name in made.curve if name != "step"]
    if not terms:
        return {}
    return {
        "curve_terms": terms,
        "curve_step": made.curve["step"],
        "curve": [made.curve[name] for name in terms],
    }


class BestSoFar:
    """By method the best score on val of any candidate that was read to its end."""

    def __init__(self, known: Iterable[tuple[str, float]] = ()) -> None:
        self.best = dict(known)

    @classmethod
    def over(cls, rows: pd.DataFrame) -> "BestSoFar":
        """As earlier rows of the candidates leave them."""
        bars = cls()
        for row in rows.to_dict("records"):
            bars.heed(row["method"], row)
        return bars

    def of(self, method: str) -> float:
        return self.best.get(method, -math.inf)

    def heed(self, method: str, row: Mapping[Any, Any]) -> None:
        """Raise the bar where the row clears it."""
        values = read_on_val(row)
        if values is not None and not row.get("val_stopped"):
            forget, retain = values
            self.best[method] = max(self.of(method), retain - FORGET_WEIGHT * forget)


def read_on_val(row: Mapping[Any, Any]) -> list[float] | None:
    """(forget, retain) on val: a classifier's accuracies, or what judge `val` reads; None of a failed row."""
    if row["status"] != "ok":
        return None
    forget = row.get("val_forget_probability")
    forget = row.get("val_forget_accuracy") if forget is None or pd.isna(forget) else forget
    retain = row.get("val_retain_accuracy")
    if forget is None or retain is None or pd.isna(forget) or pd.isna(retain):
        return None
    return [float(forget), float(retain)]
