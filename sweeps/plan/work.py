"""The work left on one problem: the cells of a grid, or a study of one method.

Both are plain records, read from the rows; `sources.open_sources` makes sources of cells of them.
"""

import math
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import repeat
from typing import Any, Protocol

import numpy as np
import pandas as pd

from sweeps.compute.candidates import SELECTION
from sweeps.spec.cells import Cell, Problem
from sweeps.spec.grid import Cells, Point, cell_of, point_of
from sweeps.spec.search import Search, is_logarithmic
from sweeps.spec.sweep import Knobs, Sweep
from unlearn.methods import KNOBS, Method, method_name

Row = Mapping[Any, Any]
SCORED = (  # columns of a row that hold its scores on val; a record of all columns takes long
    *("cell_id", "method", "status", "val_stopped"),
    *SELECTION,
)


class Work(Protocol):
    """A part of a plan, for one problem: a `Grid`, a `Study` or a `ChosenCell` of theirs."""

    @property
    def sweep(self) -> Sweep: ...

    @property
    def problem(self) -> Problem: ...

    @property
    def ids(self) -> frozenset[str]:
        """`cell_id`s of a grid's cells, with or without a row; of a study's finished cells."""

    @property
    def left(self) -> int:
        """How many cells have no row yet."""

    def cells_left(self) -> Iterator[Cell]:
        """Yield the cells to compute; a study yields its `example` once per cell that is left."""


class Candidates(Work, Protocol):
    """A `Grid` or a `Study` whose cells val chooses from."""

    def points_of(self, ids: Collection[str]) -> list[Point]:
        """Return the points of those of its cells with a row whose `cell_id` is among `ids`."""

    def left_by_method(self) -> Counter[str]:
        """Return how many cells have no row yet, by method."""

    def examples(self) -> dict[str, Cell]:
        """Return a cell of each method."""


@dataclass(frozen=True)
class Grid:
    """Cells that are known in advance.

    sweep, problem: what they belong to
    cells: those to compute, in order; `Cells` are made as they are read
    every: all cells of the grid, with or without a row
    best: (method, best score on val) of those that have a row
    """

    sweep: Sweep
    problem: Problem
    cells: Sequence[Cell]
    every: Sequence[Cell]
    best: tuple[tuple[str, float], ...] = ()

    @cached_property
    def ids(self) -> frozenset[str]:
        if isinstance(self.every, Cells):
            return frozenset(self.every.ids)
        return frozenset(cell.cell_id for cell in self.every)

    @property
    def left(self) -> int:
        return len(self.cells)

    def cells_left(self) -> Iterator[Cell]:
        return iter(self.cells)

    def points_of(self, ids: Collection[str]) -> list[Point]:
        if isinstance(self.every, Cells):
            known = zip(self.every.points, self.every.ids, strict=True)
            return [point for point, cell_id in known if cell_id in ids]
        return [point_of(cell) for cell in self.every if cell.cell_id in ids]

    def left_by_method(self) -> Counter[str]:
        return Counter(map(method_name, _methods(self.cells)))

    def examples(self) -> dict[str, Cell]:
        found: dict[str, Cell] = {}
        for method in _methods(self.every):
            name = method_name(method)
            if name not in found:
                found[name] = Cell(self.problem, method)
        return found


@dataclass(frozen=True)
class Study:
    """An Optuna study of one method on one problem: forget down, retain up, on val alone.

    sweep, problem: what it belongs to
    method: by name
    search: trials, space, sampler and seed
    fixed: (knob, value) pairs that the study's point of the grid sets
    finished: rows of its cells that are done: `SCORED` and the knobs of the space
    again: rows of its cells that hold an error and are tried again, before any new cell
    """

    sweep: Sweep
    problem: Problem
    method: str
    search: Search
    fixed: Knobs
    finished: tuple[Row, ...]
    again: tuple[Row, ...]

    @property
    def ids(self) -> frozenset[str]:
        return frozenset(row["cell_id"] for row in self.finished)

    @property
    def left(self) -> int:
        begun = len(self.finished) + len(self.again)  # can exceed `trials`, if the spec lowered it
        return max(self.search.trials, begun) - len(self.finished)

    def cells_left(self) -> Iterator[Cell]:
        return repeat(self.example, self.left)

    def points_of(self, ids: Collection[str]) -> list[Point]:
        own = (row for row in self.finished if row["cell_id"] in ids)
        return [point_of(self.cell_at(self.point_of(row))) for row in own]

    def left_by_method(self) -> Counter[str]:
        return Counter({self.method: self.left})

    def examples(self) -> dict[str, Cell]:
        return {self.method: self.example}

    @property
    def example(self) -> Cell:
        """The cell in the middle of the space: all cells of a study need the same artifacts."""
        point = {knob: middle(knob, axis) for knob, axis in self.search.space}
        return self.cell_at(point)

    def cell_at(self, point: Mapping[str, Any]) -> Cell:
        """Return the cell at one point of the space."""
        chosen = {**dict(self.fixed), **point}
        return cell_of(self.sweep, self.problem, self.method, chosen)

    def point_of(self, row: Row) -> dict[str, Any]:
        """Return the point of the space at which a row's cell lies."""
        return {knob: row[knob] for knob, _ in self.search.space}

    def owns(self, row: Row) -> bool:
        """Whether the row is of a cell that this study can ask for."""
        if not self.search.contains(row):
            return False
        cell = self.cell_at(self.point_of(row))
        return bool(cell.cell_id == row["cell_id"])


def _methods(cells: Sequence[Cell]) -> Iterable[Method]:
    """Return the method of every cell; cells that are not made yet are not made for it."""
    if isinstance(cells, Cells):
        return (point.method for point in cells.points)
    return (cell.method for cell in cells)


def ids_of(work: Iterable[Work]) -> set[str]:
    """Return the ids of all cells that the work knows, with or without a row."""
    found: set[str] = set()
    for each in work:
        found |= each.ids
    return found


def among(rows: pd.DataFrame, ids: set[str]) -> pd.DataFrame:
    """Return the rows of the cells, ten times as fast as `isin`, which makes an array of ids."""
    mask = [cell_id in ids for cell_id in rows["cell_id"].tolist()]
    return rows[np.array(mask, dtype=bool)]


def study_of(
    sweep: Sweep,
    problem: Problem,
    method: str,
    fixed: Knobs,
    rows: pd.DataFrame,
    done: set[str],
) -> Study:
    """Return the study with its trials among `rows`; those not in `done` are tried again."""
    search = dict(sweep.search)[method]
    empty = Study(sweep, problem, method, search, fixed, (), ())
    if rows.empty:
        return empty
    finished: list[Row] = []
    again: list[Row] = []
    needed = [*SCORED, *(knob for knob, _ in search.space)]
    own = rows[rows["method"] == method][needed]
    for row in own.to_dict("records"):
        if not empty.owns(row):
            continue
        if row["cell_id"] in done:
            finished.append(row)
        else:
            again.append(row)
    return Study(sweep, problem, method, search, fixed, tuple(finished), tuple(again))


def middle(knob: str, axis: tuple[Any, ...]) -> Any:
    """Return the middle of an axis: the arithmetic mean of its bounds, the geometric mean on a log
    scale, the first of names.
    """
    kind = KNOBS[knob]
    if kind not in (float, int):
        return axis[0]
    low, high = kind(axis[0]), kind(axis[1])
    half = (low + high) / 2
    if is_logarithmic(axis):
        half = math.sqrt(low * high)
    return round(half) if kind is int else half
