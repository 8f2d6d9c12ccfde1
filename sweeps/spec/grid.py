"""Expand a sweep: its problems, the points of its grid, and the cells at these points."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import product
from typing import Any, overload

from sweeps.spec.cells import Cell, Problem, canonical_method
from sweeps.spec.recipes import Recipe
from sweeps.spec.sweep import Sweep
from unlearn.methods import METHODS, Method, method_name


def problems(sweep: Sweep) -> Iterator[Problem]:
    """Yield every model x forget set x seed of the sweep, in the spec's order."""
    train = dict(sweep.train)
    for model, forget, seed in product(sweep.models, sweep.forget, sweep.seeds):
        whole, subset = (forget, "") if isinstance(forget, tuple) else ((), str(forget))
        yield Problem(
            sweep.dataset,
            model,
            whole,
            seed,
            train[model],
            sweep.eval,
            sweep.options,
            subset,
        )


@dataclass(frozen=True)
class Point:
    """A point of a grid, shared by all problems of a sweep.

    method: with all of its knobs
    canonical: its part of the canonical form of every cell at this point
    """

    method: Method
    canonical: str


def point_of(cell: Cell) -> Point:
    """Return the point at which a cell lies."""
    return Point(cell.method, canonical_method(cell.method))


@lru_cache(4)
def grid_points(sweep: Sweep) -> tuple[Point, ...]:
    """Return the points of the sweep's grid, method by method, each once.

    A method ignores an axis of a knob that it does not have: its points are not multiplied by it.
    """
    found: dict[str, Point] = {}
    for name in sweep.methods:
        for method in sweep.methods_on_grid(name):
            text = canonical_method(method)
            found.setdefault(text, Point(method, text))
    return tuple(found.values())


@dataclass(frozen=True)
class Cells(Sequence[Cell]):
    """The cells of one problem at some points of a grid; each is made when it is read."""

    problem: Problem
    points: tuple[Point, ...]

    def __len__(self) -> int:
        return len(self.points)

    @overload
    def __getitem__(self, at: int) -> Cell: ...

    @overload
    def __getitem__(self, at: slice) -> "Cells": ...

    def __getitem__(self, at: int | slice) -> "Cell | Cells":
        if isinstance(at, slice):
            return Cells(self.problem, self.points[at])
        return Cell(self.problem, self.points[at].method)

    @cached_property
    def ids(self) -> list[str]:
        """Return the `cell_id` of every cell, in order."""
        return [self.problem.id_of(point.canonical) for point in self.points]

    def without(self, done: set[str]) -> "Cells":
        """Return the cells whose id is not among `done`."""
        if not done:
            return self
        known = zip(self.points, self.ids, strict=True)
        left = tuple(point for point, cell_id in known if cell_id not in done)
        return Cells(self.problem, left)

    def shuffled(self, methods: Sequence[str]) -> "Cells":
        """Return the cells method by method, each method's in the order of their ids.

        Ids are hashes, so that order is as good as random.
        """
        place = {name: at for at, name in enumerate(methods)}
        keys = []
        for cell_id, point in zip(self.ids, self.points, strict=True):
            keys.append((place[method_name(point.method)], cell_id))
        order = sorted(range(len(keys)), key=keys.__getitem__)
        return Cells(self.problem, tuple(self.points[at] for at in order))


def grid_cells(sweep: Sweep, problem: Problem) -> list[Cell]:
    """Return the grid of one problem, method by method."""
    return list(Cells(problem, grid_points(sweep)))


def needed_by(sweep: Sweep, problem: Problem) -> Iterator[Recipe]:
    """Yield the artifacts that the sweep's methods need on one problem."""
    for name in sweep.methods:
        yield from problem.recipes(METHODS[name].needs).values()


def cell_of(sweep: Sweep, problem: Problem, method: str, chosen: dict[str, Any]) -> Cell:
    """Return the cell with the chosen knobs; other knobs are the spec's, else the method's."""
    return Cell(problem, sweep.method_at(method, chosen))
