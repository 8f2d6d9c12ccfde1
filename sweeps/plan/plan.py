"""Plan a run: compare sweeps with the store and the rows, and list what is missing.

Starts no Ray and changes nothing. Where `eval.candidates` is `val`, a plan has candidates, and for
each method and problem a `ChosenCell`: the one that val chooses, to be scored in full.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import pandas as pd

from sweeps.choose.choose import best_scores
from sweeps.compute.candidates import SELECTION
from sweeps.plan import timings
from sweeps.plan.chosen import chosen_cells
from sweeps.plan.timings import Rates, rates_of_rows
from sweeps.plan.work import Candidates, Grid, Work, among, ids_of, study_of
from sweeps.rows.results import Results
from sweeps.rows.schema import ROWS
from sweeps.spec.cells import Problem
from sweeps.spec.grid import Cells, Point, grid_points, needed_by, problems
from sweeps.spec.recipes import Recipe
from sweeps.spec.sections import Evaluation, Train
from sweeps.spec.sweep import Sweep
from unlearn.artifacts import Store
from unlearn.errors import require
from unlearn.forget_sets import without_place
from unlearn.methods import KNOBS, method_name

__all__ = ["Plan", "make_plan", "needed_by"]

ERROR = ["sweep", "cell_id", "status", "error"]  # columns of a row that tell of its error
READ = tuple(  # the columns of a row that planning reads
    dict.fromkeys(
        (
            *("cell_id", "status", "error", "dataset", "model", "task", "method", "forget", "seed"),
            *("options", *KNOBS),
            *(f"train_{f.name}" for f in fields(Train)),
            *(f"eval_{f.name}" for f in fields(Evaluation)),
            *SELECTION,
            *("val_stopped", "val_bar", "evaluate_s"),
            *timings.COLUMNS,
        )
    )
)


@dataclass(frozen=True)
class Plan:
    """The work of a run.

    sweeps: as the spec has them
    build: artifacts to make, each after those that it needs
    reuse: artifacts that the store has
    work: grids and studies that have cells left, and behind those of each problem its chosen cells
    done_of: by name of the sweep, how many planned cells have a row
    errors: the rows among them that hold an error: the cell failed, or an attack did
    rates: seconds per unit of work that the sweeps' own finished rows show

    Rows of cells that the sweeps do not plan are ignored.
    """

    sweeps: tuple[Sweep, ...]
    build: tuple[Recipe, ...]
    reuse: tuple[Recipe, ...]
    work: tuple[Work, ...]
    done_of: Mapping[str, int]
    errors: tuple[Mapping[Any, Any], ...]
    rates: Rates = field(default_factory=Rates)

    @property
    def cells(self) -> int:
        """The number of cells to compute."""
        return sum(work.left for work in self.work)

    @property
    def done(self) -> int:
        """How many planned cells have a row."""
        return sum(self.done_of.values())

    def cells_of(self, sweep: Sweep) -> int:
        """Return the number of cells to compute of one sweep."""
        return sum(work.left for work in self.work if work.sweep.name == sweep.name)


def make_plan(
    sweeps: list[Sweep], store: Store, results: Results, retry_failed: bool = False
) -> Plan:
    """Plan every cell that has no row, and with `retry_failed` those whose row holds an error.

    Raises `BadInput` where candidates stopped because of a better one that is no longer planned.
    """
    draft = _Draft()
    for sweep in sweeps:
        rows = _SweepRows(results, sweep)
        draft.add_rates(rows)
        points = grid_points(sweep)
        for problem in problems(sweep):
            own = rows.of(problem)
            skip = _done(own, _with_error(own) if retry_failed else None)
            candidates = _work(sweep, problem, points, own, skip)
            work: list[Work] = [*candidates]
            if sweep.eval.candidates == "val":
                _check_stopped(candidates, own)
                work += chosen_cells(candidates, own, skip)
            draft.add(work, needed_by(sweep, problem), own, skip)
    return draft.plan(sweeps, store)


class _Draft:
    """Collects the parts of a plan, problem by problem."""

    def __init__(self) -> None:
        self.work: list[Work] = []
        self.recipes: dict[str, Recipe] = {}
        self.errors: list[Mapping[Any, Any]] = []
        self.rates = Rates()
        self.done_of: dict[str, int] = {}

    def add_rates(self, rows: "_SweepRows") -> None:
        """Keep what the sweep's finished rows tell of seconds."""
        self.rates.extend(rates_of_rows(rows.rows))

    def add(
        self, work: list[Work], needed: Iterable[Recipe], rows: pd.DataFrame, skip: set[str]
    ) -> None:
        """Add one problem's work, its finished rows and, where cells are left, what they need."""
        if skip:
            finished = among(rows, skip & ids_of(work))
            name = work[0].sweep.name
            self.done_of[name] = self.done_of.get(name, 0) + len(finished)
            self.errors += _with_error(finished)[ERROR].to_dict("records")
        left = [each for each in work if each.left]
        self.work += left
        if left:
            for recipe in _in_order(needed):
                self.recipes[recipe.key] = recipe

    def plan(self, sweeps: list[Sweep], store: Store) -> Plan:
        """Return the plan; the store says which artifacts are to be made."""
        there: dict[str, set[str]] = {}
        build: list[Recipe] = []
        reuse: list[Recipe] = []
        for recipe in self.recipes.values():
            if recipe.kind not in there:
                there[recipe.kind] = store.keys(recipe.kind)
            if recipe.key in there[recipe.kind] and store.has(recipe.kind, recipe.key):
                reuse.append(recipe)
            else:
                build.append(recipe)
        return Plan(
            sweeps=tuple(sweeps),
            build=tuple(build),
            reuse=tuple(reuse),
            work=tuple(self.work),
            done_of=self.done_of,
            errors=tuple(self.errors),
            rates=self.rates,
        )


class _SweepRows:
    """The rows of one sweep, read once and found by problem."""

    def __init__(self, results: Results, sweep: Sweep) -> None:
        self.none: pd.DataFrame = ROWS.empty_table().select(READ).to_pandas()
        self.rows, self.groups = self.none, {}
        if sweep.name in results.sweeps():
            self.rows = results.read(sweep.name, READ)
            self.groups = _by_problem(self.rows)

    def of(self, problem: Problem) -> pd.DataFrame:
        """Return the rows of the problem's model, forget set and seed, however it is trained."""
        subset = without_place(problem.subset)
        places = self.groups.get((problem.model, problem.forget, subset, problem.seed))
        return self.none if places is None else self.rows.iloc[places]


ProblemKey = tuple[str, tuple[int, ...], str, int]


def _by_problem(rows: pd.DataFrame) -> dict[ProblemKey, list[int]]:
    """Return the places of the rows by model, forget set and seed."""
    found: dict[ProblemKey, list[int]] = {}
    keys = zip(rows["model"], rows["forget"], rows["subset"], rows["seed"], strict=True)
    for place, (model, forget, subset, seed) in enumerate(keys):
        labels = tuple(int(label) for label in forget)
        drawn = without_place(subset) if isinstance(subset, str) else ""  # null in older rows
        found.setdefault((model, labels, drawn, int(seed)), []).append(place)
    return found


def _done(rows: pd.DataFrame, again: pd.DataFrame | None) -> set[str]:
    """Return the ids of the cells that are not computed: those with a row, without `again`."""
    done = set(rows["cell_id"])
    return done if again is None else done - set(again["cell_id"])


def _with_error(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[rows["error"].notna()]


def _work(
    sweep: Sweep,
    problem: Problem,
    points: tuple[Point, ...],
    rows: pd.DataFrame,
    skip: set[str],
) -> list[Candidates]:
    """Return the problem's grid, or a study of every method at every point of its grid."""
    if not sweep.search:
        return [_grid(sweep, problem, points, rows, skip)]
    axes = list(dict(sweep.grid))
    studies: list[Candidates] = []
    for point in points:
        fixed = []
        for knob in axes:
            if hasattr(point.method, knob):
                fixed.append((knob, getattr(point.method, knob)))
        name = method_name(point.method)
        studies.append(study_of(sweep, problem, name, tuple(fixed), rows, skip))
    return studies


def _grid(
    sweep: Sweep,
    problem: Problem,
    points: tuple[Point, ...],
    rows: pd.DataFrame,
    skip: set[str],
) -> Grid:
    every = Cells(problem, points)
    left = every.without(skip)
    if sweep.eval.candidates == "val":
        # In the order of ids a good candidate comes early, and lets others stop sooner.
        left = left.shuffled(sweep.methods)
    if not skip or sweep.eval.candidates != "val":  # the best so far bounds candidates alone
        return Grid(sweep, problem, left, every)
    finished = among(rows, skip.intersection(every.ids))
    best = tuple(best_scores(finished).items())
    return Grid(sweep, problem, left, every, best)


def _check_stopped(work: list[Candidates], rows: pd.DataFrame) -> None:
    """Refuse candidates that stopped because of a better one which the spec no longer plans.

    A stopped candidate may be the best of those still planned, but its full score is unknown.
    """
    if not rows["val_stopped"].eq(True).any():
        return
    planned = among(rows, ids_of(work))
    best = best_scores(planned)
    all_stopped = planned[planned["val_stopped"].eq(True)]
    for method, stopped in all_stopped.groupby("method"):
        out_of_reach = stopped["val_bar"] > best.get(str(method), -math.inf)
        require(
            not out_of_reach.any(),
            f"candidates of {method} in sweep {work[0].sweep.name} were stopped because of a "
            "better one that the spec now leaves out; give the narrower sweep another name",
        )


def _in_order(recipes: Iterable[Recipe]) -> list[Recipe]:
    """Return each recipe once, after what it needs."""
    found: dict[str, Recipe] = {}
    for recipe in recipes:
        for each in (*_in_order(recipe.needs), recipe):
            found[each.key] = each
    return list(found.values())
