"""A sweep resolved against the store and the results: what is there, what is missing, what it costs. Starts no Ray."""

import statistics
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd
import torch

from sweeps.choose.choose import choose, spent
from sweeps.compute.cache import threads
from sweeps.compute.cell import BestSoFar, Tuning
from sweeps.compute.restore import cell_from
from sweeps.plan.sources import Grid, Source, Study
from sweeps.rows.results import ROWS, Results
from sweeps.spec.cells import Cell, Problem, Recipe, architecture, cell_of, grid_cells, problems
from sweeps.spec.sweep import Knobs, Sweep
from unlearn.artifacts import Store
from unlearn.data import DATASETS
from unlearn.errors import BadInput, require
from unlearn.methods import METHODS
from unlearn.models import build, task_of
from unlearn.splits import Images
from unlearn.streams import stream
from unlearn.train import Training, fit


@dataclass(frozen=True)
class Plan:
    """What a run would do. `build` is in dependency order; `sources` hold the cells that have no row yet; `errors` are
    the rows of those of the `done` cells that hold one: that failed, or lack something. Rows of cells that the
    sweeps do not plan count nowhere."""

    sweeps: tuple[Sweep, ...]
    build: tuple[Recipe, ...]
    reuse: tuple[Recipe, ...]
    sources: tuple[Source, ...]
    done: int
    errors: tuple[Mapping[Any, Any], ...]
    later: int = 0  # cells that are known only when val has chosen among candidates: these, to be scored in full
    seconds: Mapping[str, float] = field(
        default_factory=dict
    )  # by sweep the median of its own finished cells

    @property
    def cells(self) -> int:
        """Cells to run."""
        return sum(source.left for source in self.sources) + self.later


def make_plan(
    sweeps: list[Sweep],
    store: Store,
    results: Results,
    retry_failed: bool = False,
    confirming: bool = False,
) -> Plan:
    """Resolve every sweep; cells with a row are done, also where it holds an error, unless these are to be tried again.
    `confirming`: candidates have just been tried; of those only the chosen cells' own rows are left to try again."""
    sources: list[Source] = []
    recipes: dict[str, Recipe] = {}
    done = later = 0
    errors: list[Mapping[Any, Any]] = []
    seconds: dict[str, float] = {}
    for sweep in sweeps:
        rows = (
            results.read(sweep.name)
            if sweep.name in results.sweeps()
            else ROWS.empty_table().to_pandas()
        )
        if good := rows["wall_s"][rows["status"] == "ok"].tolist():
            seconds[sweep.name] = statistics.median(good)
        bad = rows[rows["error"].notna()]
        again = bad[bad["eval_candidates"] != sweep.eval.candidates] if confirming else bad
        skip = set(rows["cell_id"]) - (set(again["cell_id"]) if retry_failed else set())
        for problem in problems(sweep):
            found = _sources(sweep, problem, rows, skip)
            if sweep.eval.candidates == "val":
                _check_stopped(found, rows)
                reading = any(source.left for source in found)
                chosen = {} if reading else _chosen(found, rows)
                tuning = {cell.cell_id: behind for cell, behind in chosen.items()}
                found.append(
                    Grid(
                        sweep, [cell for cell in chosen if cell.cell_id not in skip], chosen, tuning
                    )
                )
                later += len(sweep.methods) if reading else 0
            sources += found
            own = rows[rows["cell_id"].isin(skip & _ids(found))]
            done += len(own)
            errors += own[own["error"].notna()].to_dict("records")
            if any(source.left for source in found):
                recipes |= {need.key: need for need in _ordered(_needed(sweep, problem))}
    missing = [recipe for recipe in recipes.values() if not store.has(recipe.kind, recipe.key)]
    there = [recipe for recipe in recipes.values() if store.has(recipe.kind, recipe.key)]
    left = tuple(source for source in sources if source.left)
    return Plan(
        tuple(sweeps), tuple(missing), tuple(there), left, done, tuple(errors), later, seconds
    )


def _sources(sweep: Sweep, problem: Problem, rows: pd.DataFrame, skip: set[str]) -> list[Source]:
    """The group's sources: its grid, or a study of every method at every point of its grid."""
    cells = grid_cells(sweep, problem)
    searches = dict(sweep.search)
    if not searches:
        left = [cell for cell in cells if cell.cell_id not in skip]
        if (
            sweep.eval.candidates == "val"
        ):  # in an order of its own, so that a high bar stands early
            left.sort(key=lambda cell: (sweep.methods.index(cell.method), cell.cell_id))
        done = rows[rows["cell_id"].isin(skip & {cell.cell_id for cell in cells})]
        return [Grid(sweep, left, cells, bars=BestSoFar.over(done))]
    own = (
        rows[(rows["model"] == problem.model) & (rows["seed"] == problem.seed)]
        if len(rows)
        else rows
    )
    axes = dict(sweep.grid)
    points = [
        (cell.method, {knob: value for knob, value in cell.knobs if knob in axes}) for cell in cells
    ]
    by_method = {method: own[own["method"] == method] if len(own) else own for method in searches}
    return [
        Study(sweep, searches[method], method, problem, point, by_method[method], skip)
        for method, point in points
    ]


def _ids(sources: list[Source]) -> set[str]:
    """Of every cell that the sources know, whether it has a row or not."""
    return {cell_id for source in sources for cell_id in source.ids}


def _check_stopped(sources: list[Source], rows: pd.DataFrame) -> None:
    """Refuse candidates that stopped because of a better one which is planned no more: one of them may now be best."""
    planned = rows[rows["cell_id"].isin(_ids(sources))]
    bars = BestSoFar.over(planned)
    for method, stopped in planned[planned["val_stopped"].eq(True)].groupby("method"):
        require(
            not (stopped["val_bar"] > bars.of(str(method))).any(),
            f"candidates of {method} in sweep {sources[0].sweep.name} were stopped because of a better one that the "
            "spec now leaves out; give the narrower sweep another name",
        )


def _chosen(sources: list[Source], rows: pd.DataFrame) -> dict[Cell, Tuning]:
    """Of a group's candidates, all of which have their rows: the one that val chooses of each method, to be scored in
    full, and what it was chosen from. A method whose candidates all failed has none."""
    candidates = rows[rows["cell_id"].isin(_ids(sources))]
    found = {}
    for _, of_method in candidates.groupby("method"):
        good = of_method[of_method["status"] == "ok"]
        if len(good):
            cell = cell_from(choose(good).row)
            whole = replace(
                cell,
                problem=replace(cell.problem, eval=replace(cell.problem.eval, candidates="full")),
            )
            found[whole] = Tuning(
                tuple(cell_from(row) for _, row in good.iterrows()), spent(of_method)
            )
    return found


def _needed(sweep: Sweep, problem: Problem) -> Iterable[Recipe]:
    for method in sweep.methods:
        yield from cell_of(sweep, problem, method, {}).recipes().values()


def _ordered(recipes: Iterable[Recipe]) -> list[Recipe]:
    """Each recipe after what it needs."""
    found: dict[str, Recipe] = {}
    for recipe in recipes:
        found |= {need.key: need for need in _ordered(recipe.needs)}
        found[recipe.key] = recipe
    return list(found.values())


@dataclass(frozen=True)
class Cost:
    """Seconds of one trial's resources; `measured` says how many of them rest on earlier artifacts and rows."""

    artifacts_s: float
    cells_s: float
    measured: float


def estimate(plan: Plan) -> Cost:
    """What the plan costs: the median of earlier cells, else a few training steps timed here and now."""
    steps = StepTimer()
    artifacts = sum(steps.of_recipe(recipe) for recipe in plan.build)
    cells = measured = 0.0
    for source in plan.sources:
        past = plan.seconds.get(source.sweep.name)
        cells += (
            source.left * past if past is not None else sum(map(steps.of_cell, _cells_of(source)))
        )
        measured += source.left * (past or 0.0)
    return Cost(artifacts, cells, measured)


class StepTimer:
    """Times a few real training steps of each model here, on one thread, once a model and batch size."""

    def __init__(self) -> None:
        self.known: dict[tuple[str, str, int, Knobs], float] = {}

    def step(self, dataset: str, model: str, batch: int, options: Knobs = ()) -> float:
        """Seconds of one training step on a batch of that size."""
        key = (dataset, model, batch, options)
        if key not in self.known:
            self.known[key] = _time_step(*key)
        return self.known[key]

    def of_recipe(self, recipe: Recipe) -> float:
        knobs = dict(recipe.knobs)
        if recipe.kind == "judge":
            return knobs["steps"] * self.step(recipe.dataset, "cnn", 64) * 2
        if recipe.kind == "fisher":
            return (
                knobs["fisher_samples"]
                / 500
                * self.step(recipe.dataset, recipe.model, 500, recipe.options)
                * 1.5
            )
        return knobs.get("steps", knobs.get("expert_steps", 0)) * self.step(
            recipe.dataset, recipe.model, knobs["batch"], recipe.options
        )

    def of_cell(self, cell: Cell) -> float:
        """Method steps (twice the batch where it replays) and the reading of every image that judges it; no attacks."""
        problem, knobs = cell.problem, dict(cell.knobs)
        steps = 0 if METHODS[cell.method].closed_form else knobs.get("steps", 0)
        replay = 2 if "gamma" in knobs else 1
        images = (
            problem.eval.samples * DATASETS[problem.dataset].classes * 2
            if problem.task == "generator"
            else 5000
        )
        reading = images / 500 * self.step(problem.dataset, "cnn", 500) / 3
        step = self.step(problem.dataset, problem.model, knobs.get("batch", 64), problem.options)
        return steps * replay * step + reading


def _cells_of(source: Source) -> list[Cell]:
    """The source's cells, or as many like its own as a study has left."""
    return [source.example] * source.left if isinstance(source, Study) else source.cells


def _time_step(dataset: str, model: str, batch: int, options: Knobs, steps: int = 6) -> float:
    """Seconds a step, over a few steps on random pixels of the data set's shape (no data is read)."""
    source = DATASETS.get(dataset)
    if source is None:
        raise BadInput(f"unknown data set {dataset!r}; known: {', '.join(DATASETS)}")
    images = Images(
        torch.randint(256, (batch, *source.shape)).to(torch.uint8),
        torch.arange(batch) % source.classes,
    )
    network = build(model, source.shape, source.classes, options=architecture(options))
    try:
        with threads(1):
            fit(network, images, Training(2, batch, 1e-6), stream(0, "warm"))
            started = time.perf_counter()
            fit(network, images, Training(steps, batch, 1e-6), stream(0, "time"))
            return (time.perf_counter() - started) / steps
    except BadInput:
        raise
    except (RuntimeError, ValueError) as error:
        shape, why = " x ".join(map(str, source.shape)), " ".join(str(error).split())
        raise BadInput(
            f"model {model} cannot take {batch} images of {dataset}, {shape} each ({why}); change model or batch"
        ) from error


def describe(plan: Plan, cost: Cost) -> str:
    """The plan in words, for a terminal."""
    lines = []
    for sweep in plan.sweeps:
        axes = f"{len(sweep.models)} models x {len(sweep.forget)} forget sets x {len(sweep.seeds)} seeds"
        kinds = ", ".join(sorted({task_of(model) for model in sweep.models}))
        points = " x ".join(f"{knob}{list(values)}" for knob, values in sweep.grid)
        search = "".join(
            f"{search.trials} {search.sampler} trials a study" for _, search in sweep.search[:1]
        )
        lines.append(
            f"{sweep.name}: {', '.join(sweep.methods)} on {sweep.dataset} ({kinds}): {axes}; "
            + "; ".join(filter(None, [points, search]))
        )
    lines.append(f"artifacts: {len(plan.build)} to build, {len(plan.reuse)} reused")
    lines += [f"  build {recipe.describe()} [{recipe.key}]" for recipe in plan.build]
    errors = (
        f", {len(plan.errors)} of them with an error (again with --retry-failed)"
        if plan.errors
        else ""
    )
    lines.append(f"cells: {plan.cells} to run, {plan.done} done{errors}")
    total = cost.artifacts_s + cost.cells_s
    uncounted = ", attacks not counted" if any(sweep.eval.attacks for sweep in plan.sweeps) else ""
    basis = "earlier rows" if cost.measured else f"training steps timed here just now{uncounted}"
    if plan.cells:
        lines.append(
            f"cost: about {total / 60:.1f} minutes of one trial's resources ({cost.artifacts_s:.0f} s artifacts, "
            f"{cost.cells_s:.0f} s cells; from {basis})"
        )
    else:
        lines.append("cost: nothing; every cell has its row")
    return "\n".join(lines)
