"""Plan a run: compare sweeps with the store and the rows, and list what is missing.

Starts no Ray and changes nothing. Where `eval.candidates` is `val`, a run has two passes:
`make_plan` gives the candidates, `plan_chosen` the cells that val then chooses among them.
"""

import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd

from sweeps.choose.choose import choose, spent
from sweeps.compute.candidates import BestSoFar, Tuning
from sweeps.compute.restore import cell_from
from sweeps.plan.work import Grid, Work, study_of
from sweeps.rows.results import Results
from sweeps.rows.schema import ROWS
from sweeps.spec.cells import Cell, Problem, Recipe, cell_of, grid_cells, problems
from sweeps.spec.sweep import Sweep
from unlearn.artifacts import Store
from unlearn.errors import require


@dataclass(frozen=True)
class Plan:
    """The work of a run.

    sweeps: as the spec has them
    build: artifacts to make, each after those that it needs
    reuse: artifacts that the store has
    work: grids and studies that have cells left
    done: how many planned cells have a row
    errors: the rows among them that hold an error: the cell failed, or an attack did
    chosen_later: how many cells will be scored in full once val has chosen among candidates
    seconds: by name of the sweep, the median seconds of its finished cells

    Rows of cells that the sweeps do not plan are ignored.
    """

    sweeps: tuple[Sweep, ...]
    build: tuple[Recipe, ...]
    reuse: tuple[Recipe, ...]
    work: tuple[Work, ...]
    done: int
    errors: tuple[Mapping[Any, Any], ...]
    chosen_later: int = 0
    seconds: Mapping[str, float] = field(default_factory=dict)

    @property
    def cells(self) -> int:
        """The number of cells to compute."""
        return sum(work.left for work in self.work) + self.chosen_later


def make_plan(
    sweeps: list[Sweep], store: Store, results: Results, retry_failed: bool = False
) -> Plan:
    """Plan every cell that has no row, and with `retry_failed` those whose row holds an error.

    Chosen cells are planned for problems whose candidates all have rows; `chosen_later` counts the
    others. Raises `BadInput` where candidates stopped because of a better one that is no longer
    planned.
    """
    draft = _Draft()
    for sweep in sweeps:
        rows = _rows_of(results, sweep)
        draft.note_seconds(sweep, rows)
        skip = set(rows["cell_id"])
        if retry_failed:
            skip -= set(_with_error(rows)["cell_id"])
        for problem in problems(sweep):
            work = _work(sweep, problem, rows, skip)
            if sweep.eval.candidates == "val":
                _check_stopped(work, rows)
                if any(each.left for each in work):
                    draft.chosen_later += len(sweep.methods)
                else:
                    work.append(_chosen_grid(sweep, problem, work, rows, skip))
            draft.add(work, needed_by(sweep, problem), rows, skip)
    return draft.plan(sweeps, store)


def plan_chosen(
    sweeps: list[Sweep], store: Store, results: Results, retry_failed: bool = False
) -> Plan:
    """Plan the cells that val chooses among candidates which all have their rows by now.

    With `retry_failed` also chosen cells whose row holds an error; no candidate is tried again. Nor
    is an artifact that other methods need: where it could not be made, it would fail once more.
    """
    draft = _Draft()
    for sweep in sweeps:
        if sweep.eval.candidates != "val":
            continue
        rows = _rows_of(results, sweep)
        skip = set(rows["cell_id"])
        if retry_failed:
            errors = _with_error(rows)
            skip -= set(errors[errors["eval_candidates"] == "full"]["cell_id"])
        for problem in problems(sweep):
            work = _work(sweep, problem, rows, skip)
            if not any(each.left for each in work):
                chosen = _chosen_grid(sweep, problem, work, rows, skip)
                draft.add([chosen], _needed_by_cells(chosen.cells), rows, skip)
    return draft.plan(sweeps, store)


class _Draft:
    """Collects the parts of a plan, problem by problem."""

    def __init__(self) -> None:
        self.work: list[Work] = []
        self.recipes: dict[str, Recipe] = {}
        self.errors: list[Mapping[Any, Any]] = []
        self.seconds: dict[str, float] = {}
        self.done = self.chosen_later = 0

    def note_seconds(self, sweep: Sweep, rows: pd.DataFrame) -> None:
        """Keep the median seconds of the sweep's finished cells."""
        good = rows["wall_s"][rows["status"] == "ok"].tolist()
        if good:
            self.seconds[sweep.name] = statistics.median(good)

    def add(
        self, work: list[Work], needed: Iterable[Recipe], rows: pd.DataFrame, skip: set[str]
    ) -> None:
        """Add one problem's work, its finished rows and, where cells are left, what they need."""
        finished = rows[rows["cell_id"].isin(skip & _ids(work))]
        self.done += len(finished)
        self.errors += _with_error(finished).to_dict("records")
        left = [each for each in work if each.left]
        self.work += left
        if left:
            for recipe in _in_order(needed):
                self.recipes[recipe.key] = recipe

    def plan(self, sweeps: list[Sweep], store: Store) -> Plan:
        """Return the plan; the store says which artifacts are to be made."""
        build: list[Recipe] = []
        reuse: list[Recipe] = []
        for recipe in self.recipes.values():
            if store.has(recipe.kind, recipe.key):
                reuse.append(recipe)
            else:
                build.append(recipe)
        return Plan(
            sweeps=tuple(sweeps),
            build=tuple(build),
            reuse=tuple(reuse),
            work=tuple(self.work),
            done=self.done,
            errors=tuple(self.errors),
            chosen_later=self.chosen_later,
            seconds=self.seconds,
        )


def _rows_of(results: Results, sweep: Sweep) -> pd.DataFrame:
    if sweep.name in results.sweeps():
        return results.read(sweep.name)
    no_rows: pd.DataFrame = ROWS.empty_table().to_pandas()
    return no_rows


def _with_error(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[rows["error"].notna()]


def _work(sweep: Sweep, problem: Problem, rows: pd.DataFrame, skip: set[str]) -> list[Work]:
    """Return the problem's grid, or a study of every method at every point of its grid."""
    cells = grid_cells(sweep, problem)
    if not sweep.search:
        return [_grid(sweep, problem, cells, rows, skip)]
    axes = list(dict(sweep.grid))
    same = (rows["model"] == problem.model) & (rows["seed"] == problem.seed)
    own = rows[same]
    studies: list[Work] = []
    for cell in cells:
        fixed = []
        for knob in axes:
            if hasattr(cell.method, knob):
                fixed.append((knob, getattr(cell.method, knob)))
        study = study_of(sweep, problem, cell.method_name, tuple(fixed), own, skip)
        studies.append(study)
    return studies


def _grid(
    sweep: Sweep, problem: Problem, cells: list[Cell], rows: pd.DataFrame, skip: set[str]
) -> Grid:
    left = [cell for cell in cells if cell.cell_id not in skip]
    if sweep.eval.candidates == "val":
        # Ids are hashes, so this order is as good as random: a good candidate comes early, and
        # lets others stop sooner.
        left.sort(key=lambda cell: (sweep.methods.index(cell.method_name), cell.cell_id))
    ids = frozenset(cell.cell_id for cell in cells)
    finished = rows[rows["cell_id"].isin(skip & ids)]
    best = tuple(BestSoFar.over(finished).scores.items())
    return Grid(sweep, problem, tuple(left), ids, best)


def _chosen_grid(
    sweep: Sweep, problem: Problem, candidates: list[Work], rows: pd.DataFrame, skip: set[str]
) -> Grid:
    """Return the cells to score in full: the one that val chooses for each method."""
    chosen = _chosen(candidates, rows)
    tuning = {cell.cell_id: behind for cell, behind in chosen.items()}
    left = tuple(cell for cell in chosen if cell.cell_id not in skip)
    return Grid(sweep, problem, left, frozenset(tuning), tuning=tuning)


def _ids(work: list[Work]) -> set[str]:
    """Return the ids of all cells that the work knows, with or without a row."""
    found: set[str] = set()
    for each in work:
        found |= each.ids
    return found


def _check_stopped(work: list[Work], rows: pd.DataFrame) -> None:
    """Refuse candidates that stopped because of a better one which the spec no longer plans.

    A stopped candidate may be the best of those still planned, but its full score is unknown.
    """
    planned = rows[rows["cell_id"].isin(_ids(work))]
    best = BestSoFar.over(planned)
    all_stopped = planned[planned["val_stopped"].eq(True)]
    for method, stopped in all_stopped.groupby("method"):
        out_of_reach = stopped["val_bar"] > best.of(str(method))
        require(
            not out_of_reach.any(),
            f"candidates of {method} in sweep {work[0].sweep.name} were stopped because of a "
            "better one that the spec now leaves out; give the narrower sweep another name",
        )


def _chosen(work: list[Work], rows: pd.DataFrame) -> dict[Cell, Tuning]:
    """Return the cell that val chooses for each method, and the candidates it was chosen from.

    A method whose candidates all failed has none.
    """
    candidates = rows[rows["cell_id"].isin(_ids(work))]
    found = {}
    for _, of_method in candidates.groupby("method"):
        good = of_method[of_method["status"] == "ok"]
        if len(good):
            cell = cell_from(choose(good).row)
            evaluation = replace(cell.problem.eval, candidates="full")
            in_full = replace(cell, problem=replace(cell.problem, eval=evaluation))
            tried = tuple(cell_from(row) for _, row in good.iterrows())
            found[in_full] = Tuning(tried, spent(of_method))
    return found


def needed_by(sweep: Sweep, problem: Problem) -> Iterable[Recipe]:
    """Yield the artifacts that the sweep's methods need on one problem."""
    for method in sweep.methods:
        cell = cell_of(sweep, problem, method, {})
        yield from cell.recipes().values()


def _needed_by_cells(cells: Iterable[Cell]) -> Iterable[Recipe]:
    for cell in cells:
        yield from cell.recipes().values()


def _in_order(recipes: Iterable[Recipe]) -> list[Recipe]:
    """Return each recipe once, after what it needs."""
    found: dict[str, Recipe] = {}
    for recipe in recipes:
        for each in (*_in_order(recipe.needs), recipe):
            found[each.key] = each
    return list(found.values())
