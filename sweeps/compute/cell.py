"""What a cell comes to: unlearn, score, attack; or, of a candidate, as much of val as it takes."""

import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from sweeps.choose.choose import FORGET_WEIGHT
from sweeps.compute.attacks import attack
from sweeps.compute.cache import Workbench
from sweeps.compute.recorder import Film
from sweeps.spec.cells import Cell
from unlearn.early_stop import Racecourse
from unlearn.methods import METHODS, Unlearned, make_method
from unlearn.methods.task_arithmetic import TaskArithmetic
from unlearn.metrics import score
from unlearn.streams import seeded, stream


def compute(bench: Workbench, cell: Cell) -> dict[str, Any]:
    """Unlearn and score: the row's curve, seconds and scores."""
    started = time.perf_counter()
    group = cell.group
    original, oracle = bench.evidence(group, group.original), bench.evidence(group, group.oracle)
    needs, setting = bench.needs(cell), bench.setting(group)
    loaded = time.perf_counter()
    film = film_of(bench, cell)
    made = unlearn(bench, cell, needs if film is None else {**needs, "watch": film})
    unlearned = time.perf_counter()
    subject = setting.observe(bench.build(group.original, made.weights))
    scores = score(group.task, setting, subject, original, oracle)
    evaluated = time.perf_counter()
    found, pictures = attack(bench, cell, made.weights)
    attacked = time.perf_counter()
    pictures |= film.pictures() if film is not None else {}
    if pictures:
        bench.store.save("pictures", cell.cell_id, pictures, {"cell": cell.describe()})
    if not METHODS[cell.method].closed_form:
        card = {"cell": cell.describe(), "forget": list(group.forget)}
        bench.store.save("unlearned", cell.cell_id, made.weights, card)
        scores["artifact_unlearned"] = cell.cell_id
    seconds = {"artifacts_s": loaded - started, "unlearn_s": unlearned - loaded, "evaluate_s": evaluated - unlearned}
    seconds["attack_s"] = attacked - evaluated
    return {**scores, **found, **_curve(made), **seconds, **_made_s(bench, cell)}


def compute_candidate(bench: Workbench, cell: Cell, bar: float) -> dict[str, Any]:
    """Unlearn and read on val as long as `bar` is within reach: the row's accuracies and seconds."""
    started = time.perf_counter()
    needs, course = bench.needs(cell), bench.keep(make_course, cell.group.dataset, cell.group.forget, "val")
    loaded = time.perf_counter()
    model = candidate(bench, cell, needs)
    unlearned = time.perf_counter()
    race = course.run(model, FORGET_WEIGHT, bar)
    seconds = {"artifacts_s": loaded - started, "unlearn_s": unlearned - loaded}
    return {
        "val_forget_accuracy": race.forget,
        "val_retain_accuracy": race.retain,
        "val_images": race.images,
        "val_stopped": race.stopped,
        "val_bar": bar if race.stopped else None,
        **seconds,
        "evaluate_s": time.perf_counter() - unlearned,
        **_made_s(bench, cell),
    }


def make_course(bench: Workbench, dataset: str, forget: tuple[int, ...], split: str) -> Racecourse:
    """Kept between all cells that forget the same of the same."""
    return Racecourse(getattr(bench.splits(dataset, forget), split))


@dataclass(frozen=True)
class Tuning:
    """What stood behind a choice: the candidates that were read on val, and the seconds that they took."""

    candidates: tuple[Cell, ...]
    seconds: float


def tuned(bench: Workbench, cell: Cell, tuning: Tuning) -> dict[str, Any]:
    """What the choice of `cell` took, and where candidates need not be trained again, what it cost."""
    found: dict[str, Any] = {"tuning_candidates": len(tuning.candidates), "tuning_s": tuning.seconds}
    if not METHODS[cell.method].closed_form:
        return found
    started = time.perf_counter()
    regret = selection_regret(bench, cell, tuning.candidates)
    return {**found, "selection_regret": regret, "regret_s": time.perf_counter() - started}


def selection_regret(bench: Workbench, cell: Cell, candidates: Iterable[Cell]) -> float:
    """The best score on test (retain - 1.5 forget) of any candidate minus that of the chosen `cell`, at least 0: what
    choosing on test would have seemed to gain. Each is read only as long as it can still be the best."""
    course = bench.keep(make_course, cell.group.dataset, cell.group.forget, "test")

    def read(of: Cell, bar: float) -> float:
        race = course.run(candidate(bench, of, bench.needs(of)), FORGET_WEIGHT, bar)
        return bar if race.stopped else race.score(FORGET_WEIGHT)

    best = own = read(cell, -math.inf)
    for other in candidates:
        best = max(best, read(other, best))
    return best - own


def candidate(bench: Workbench, cell: Cell, needs: dict[str, Any]) -> Any:
    """The cell's model; of task arithmetic in the one scratch network that all its candidates are written into."""
    group, method = cell.group, make_method(cell.method, dict(cell.knobs))
    if not isinstance(method, TaskArithmetic):
        return bench.build(group.original, unlearn(bench, cell, needs).weights)
    surgeon, splits = bench.surgeon(group.original, group.expert), bench.splits(group.dataset, group.forget)
    return method.operate(surgeon, splits, stream(group.seed, "unlearn", cell.method, device=bench.device))


def _made_s(bench: Workbench, cell: Cell) -> dict[str, float]:
    """Seconds that retraining took, and what the method needs beside the original (an oracle, if it is `retrain`)."""
    recipes, wanted = cell.recipes(), METHODS[cell.method].needs
    needs = [recipe for recipe in recipes.values() if {recipe.kind, f"{recipe.kind}s"} & set(wanted)]
    return {"oracle_s": bench.seconds(recipes["oracle"]), "needs_s": sum(map(bench.seconds, needs), 0.0)}


def unlearn(bench: Workbench, cell: Cell, needs: dict[str, Any]) -> Unlearned:
    """Run the cell's method; all of its randomness follows from the cell."""
    group = cell.group
    splits = bench.splits(group.dataset, group.forget)
    generator = stream(group.seed, "unlearn", cell.method, device=bench.device)
    with seeded(group.seed, "unlearn", cell.method):
        return make_method(cell.method, dict(cell.knobs))(bench.model(group.original), splits, generator, **needs)


def film_of(bench: Workbench, cell: Cell) -> Film | None:
    """What watches a generator forget step by step; a classifier has nothing to show."""
    group, steps = cell.group, dict(cell.knobs).get("steps")
    if group.task != "generator" or steps is None:
        return None
    original = bench.model(group.original)
    return Film(original.z_dim, original.classes, steps, group.seed, bench.device)


def _curve(made: Unlearned) -> dict[str, Any]:
    terms = [name for name in made.curve if name != "step"]
    if not terms:
        return {}
    return {"curve_terms": terms, "curve_step": made.curve["step"], "curve": [made.curve[name] for name in terms]}


class Bars:
    """By method the best score on val of any candidate that was read to its end."""

    def __init__(self, known: Iterable[tuple[str, float]] = ()) -> None:
        self.best = dict(known)

    @classmethod
    def over(cls, rows: pd.DataFrame) -> "Bars":
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
