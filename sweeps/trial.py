"""One trial: a pack of cells in a reused actor. Every cell's row is on disk before the next cell starts."""

import math
import os
import time
import traceback
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import ray
import torch
from ray import tune

from sweeps.attacks import attack
from sweeps.cells import Cell, Group
from sweeps.choose import FORGET_WEIGHT
from sweeps.film import Film
from sweeps.rows import Results, Row, row_of
from sweeps.workbench import Workbench, pick_device
from unlearn.artifacts import Store
from unlearn.methods import METHODS, Unlearned, make_method
from unlearn.methods.task_arithmetic import TaskArithmetic
from unlearn.metrics import score
from unlearn.racing import Racecourse
from unlearn.streams import seeded, stream


@dataclass(frozen=True)
class Site:
    """Where a sweep works: its rows, its artifacts, its data, and the revision of the code that runs."""

    results: str
    store: str
    data_root: str
    git_revision: str | None


@dataclass(frozen=True)
class Pack:
    """Cells for one trial; `retry` recomputes cells whose row says failed. `bars`: by method the best score on val so
    far, which a candidate must still be able to reach."""

    sweep: str
    cells: tuple[Cell, ...]
    cpu: float
    gpu: float
    retry: bool
    bars: tuple[tuple[str, float], ...] = ()


class PackTrial(tune.Trainable):
    """Computes a pack in one step. Its workbench outlives the pack, because the actor is reused."""

    def setup(self, config: dict[str, Any]) -> None:
        pack, site = config["pack"], config["site"]
        torch.set_num_threads(max(1, int(pack.cpu)))
        self.site: Site = site
        self.bench = Workbench(Store(site.store), site.data_root, pick_device(pack.gpu))
        self.pack: Pack = pack

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.pack = new_config["pack"]
        return self.site == new_config["site"]

    def step(self) -> dict[str, Any]:
        bars, rows = Bars(self.pack.bars), []
        for cell in self.pack.cells:
            rows.append(run_cell(self.bench, self.site, self.pack, cell, bars.of(cell.method)))
            bars.heed(cell.method, rows[-1])
        return {"done": True, "rows": [{name: row[name] for name in TOLD if name in row} for row in rows]}


# what the searcher and the progress bar hear of a row: nothing of the test set
TOLD = ("cell_id", "status", "wall_s", "val_forget_accuracy", "val_forget_probability", "val_retain_accuracy",
        "val_stopped")  # fmt: skip


class Bars:
    """By method the best score on val of any candidate that was read to its end."""

    def __init__(self, known: Iterable[tuple[str, float]] = ()) -> None:
        self.best = dict(known)

    def of(self, method: str) -> float:
        return self.best.get(method, -math.inf)

    def heed(self, method: str, row: Mapping[str, Any]) -> None:
        """Raise the bar where a classifier's row clears it."""
        forget, retain = row.get("val_forget_accuracy"), row.get("val_retain_accuracy")
        if row["status"] == "ok" and forget is not None and retain is not None and not row.get("val_stopped"):
            self.best[method] = max(self.of(method), retain - FORGET_WEIGHT * forget)


def run_cell(bench: Workbench, site: Site, pack: Pack, cell: Cell, bar: float = -math.inf) -> Row:
    """Compute, score and write one cell; an error becomes a failed row. A cell that has a row is not computed again."""
    results = Results(site.results)
    if not pack.retry and results.has(pack.sweep, cell.cell_id):
        return {"cell_id": cell.cell_id, "status": "kept"}
    started = time.perf_counter()
    try:
        work = compute if cell.group.eval.candidates == "full" else partial(compute_candidate, bar=bar)
        outcome = {"status": "ok", **work(bench, cell)}
    except Exception as error:  # whatever a method does, its cell gets a row that says so
        where = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{os.path.basename(where.filename)}:{where.lineno}"
        outcome = {"status": "failed", "error": f"{type(error).__name__}: {error} ({place})"}
    outcome |= {"wall_s": time.perf_counter() - started, **provenance(bench, site, cell)}
    row = row_of(cell, outcome)
    results.write(pack.sweep, row)
    return row


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
    needs, course = bench.needs(cell), bench.keep(make_course, cell.group)
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
        **seconds,
        "evaluate_s": time.perf_counter() - unlearned,
        **_made_s(bench, cell),
    }


def make_course(bench: Workbench, group: Group) -> Racecourse:
    """Kept between the cells of a group."""
    return Racecourse(bench.dataset(group.dataset).split(group.forget).val)


def candidate(bench: Workbench, cell: Cell, needs: dict[str, Any]) -> Any:
    """The cell's model; of task arithmetic in the one scratch network that all its candidates are written into."""
    group, method = cell.group, make_method(cell.method, dict(cell.knobs))
    if not isinstance(method, TaskArithmetic):
        return bench.build(group.original, unlearn(bench, cell, needs).weights)
    surgeon, splits = bench.surgeon(group.original, group.expert), bench.dataset(group.dataset).split(group.forget)
    return method.operate(surgeon, splits, stream(group.seed, "unlearn", cell.method, device=bench.device))


def _made_s(bench: Workbench, cell: Cell) -> dict[str, float]:
    """Seconds that retraining took, and what the method needs beside the original."""
    recipes = cell.recipes()
    needs = [recipe for recipe in recipes.values() if recipe.kind in ("fisher", "expert")]
    return {"oracle_s": bench.seconds(recipes["oracle"]), "needs_s": sum(map(bench.seconds, needs), 0.0)}


def unlearn(bench: Workbench, cell: Cell, needs: dict[str, Any]) -> Unlearned:
    """Run the cell's method; all of its randomness follows from the cell."""
    group = cell.group
    splits = bench.dataset(group.dataset).split(group.forget)
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


def _own_version() -> str | None:
    """None where the code was shipped to the cluster with a job instead of being installed there."""
    try:
        return version("amnesia")
    except PackageNotFoundError:
        return None


def provenance(bench: Workbench, site: Site, cell: Cell) -> dict[str, Any]:
    """Where a row comes from: artifacts, versions, device, time."""
    recipes = cell.recipes()
    kinds = ("original", "oracle", "fisher", "expert")
    keys: dict[str, Any] = {f"artifact_{kind}": recipes[kind].key for kind in kinds if kind in recipes}
    seats = [seat for seat in cell.group.judges if seat != "val"]
    judges = (
        {"judge_names": seats, "artifact_judges": [recipes[f"judge-{seat}"].key for seat in seats]} if seats else {}
    )
    versions = {"version_amnesia": _own_version(), "version_torch": torch.__version__, "version_ray": ray.__version__}
    where = {"device": bench.device, "threads": torch.get_num_threads(), "store": site.store}
    return {**keys, **judges, **versions, **where, "git_revision": site.git_revision, "created_at": datetime.now(UTC)}
