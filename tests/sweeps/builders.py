"""Builders of the objects that the tests of `sweeps` use: specs, cells, plans and rows.

Tests construct none of these themselves, so that a changed signature changes only this file
(packs, trials and searchers: `tests/sweeps/packs.py`). Import as
`from tests.sweeps import builders as make`: `make.cell()`, `make.plan(folder, sweep)`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sweeps.plan.cost import Cost, estimate
from sweeps.plan.plan import Plan, make_plan
from sweeps.plan.sources import GridSource, Source, open_sources
from sweeps.plan.work import Grid
from sweeps.rows.results import Results
from sweeps.rows.schema import Row, row_of
from sweeps.spec import grid as spec_grid
from sweeps.spec.cells import Cell, Problem
from sweeps.spec.parse import parse
from sweeps.spec.recipes import Recipe
from sweeps.spec.sweep import Sweep
from unlearn.artifacts import Store

SPEC: dict[str, Any] = {"name": "s", "models": "cnn", "method": "fine-tune", "forget": [1]}
GRID_SPEC: dict[str, Any] = {
    "name": "s",
    "models": ["cvae-mlp"],
    "method": "selective-amnesia",
    "forget": [[0], [1, 2]],
    "grid": {"lam": [10, 100]},
}


def sweep(**changes: Any) -> Sweep:
    """A sweep that fine-tunes one small classifier, with top-level keys of its spec changed."""
    return parse({**SPEC, **changes})


def grid_spec(**changes: Any) -> dict[str, Any]:
    """The spec of a generator's grid, two forget sets by two values, with keys changed."""
    return {**GRID_SPEC, **changes}


def problems_of(sweep: Sweep) -> list[Problem]:
    """Every problem of the sweep."""
    return list(spec_grid.problems(sweep))


def problem(**changes: Any) -> Problem:
    """The first problem of the changed spec."""
    return problems_of(sweep(**changes))[0]


def cells_of_problem(sweep: Sweep, problem: Problem) -> list[Cell]:
    """The problem's cells of the sweep's grid."""
    return spec_grid.grid_cells(sweep, problem)


def cells_of(sweep: Sweep) -> list[Cell]:
    """Every cell of the sweep's grid, problem by problem."""
    found: list[Cell] = []
    for each in problems_of(sweep):
        found += cells_of_problem(sweep, each)
    return found


def cells(**changes: Any) -> list[Cell]:
    """Every cell of the changed spec's grid."""
    return cells_of(sweep(**changes))


def cell(**changes: Any) -> Cell:
    """The only cell of the changed spec."""
    (only,) = cells(**changes)
    return only


def cell_at(sweep: Sweep, problem: Problem, method: str, point: dict[str, Any]) -> Cell:
    """The cell of the problem with the knobs of `point`, all others as the sweep has them."""
    return spec_grid.cell_of(sweep, problem, method, point)


def knobs(cell: Cell) -> dict[str, Any]:
    """The cell's knobs by name."""
    return asdict(cell.method)


def method(cell: Cell) -> str:
    """The name of the cell's method."""
    return cell.method_name


def recipe(kind: str, *needs: Recipe, forget: tuple[int, ...] = ()) -> Recipe:
    """A recipe of the small classifier, without knobs."""
    return Recipe(kind, "mnist5k", "cnn", 0, forget, (), needs)


def store(folder: Path) -> Store:
    """The artifacts of the tests' folder."""
    return Store(str(folder / "store"))


def results(folder: Path) -> Results:
    """The rows of the tests' folder."""
    return Results(str(folder / "results"))


def plan(folder: Path, *sweeps: Sweep, retry_failed: bool = False) -> Plan:
    """The sweeps, resolved against the store and the rows of `folder`."""
    return make_plan(list(sweeps), store(folder), results(folder), retry_failed)


def cost(folder: Path, plan: Plan) -> Cost:
    """The plan's estimated cost, from the store and the rows of `folder`."""
    return estimate(plan, store(folder), results(folder))


def opened(plan: Plan) -> list[Any]:
    """The plan's sources: grids and studies, ready to hand out cells."""
    return list(open_sources(plan.work))


def sources(folder: Path, *sweeps: Sweep) -> list[Any]:
    """The sources of the cells that the sweeps still have to run in `folder`."""
    return opened(plan(folder, *sweeps))


def candidates(sources: list[Any]) -> list[Any]:
    """These sources without those of the cells that val chooses."""
    return [source for source in sources if not source.chosen]


def grid(sweep: Sweep, cells: list[Cell]) -> Source:
    """A source of these cells."""
    return GridSource(Grid(sweep, cells[0].problem, tuple(cells), tuple(cells)))


def row(cell: Cell, status: str = "ok", **outcome: Any) -> Row:
    """The cell's row, written now."""
    return row_of(cell, {"status": status, "created_at": datetime.now(UTC)} | outcome)


def write(
    results: Results, cell: Cell, status: str = "ok", *, sweep: str = "s", **outcome: Any
) -> None:
    """Write the cell's row."""
    results.write(sweep, row(cell, status, **outcome))


def timed_row(folder: Path, sweep: str, step_s: float, rest_s: float, **changes: Any) -> None:
    """Write the row of the changed spec's first cell: its steps took `step_s` each."""
    cell = cells(**changes)[0]
    unlearn_s = step_s * knobs(cell)["steps"]
    seconds: dict[str, Any] = {
        "unlearn_s": unlearn_s,
        "attack_s": 0.0,
        "wall_s": unlearn_s + rest_s,
    }
    write(results(folder), cell, sweep=sweep, device="cpu", **seconds)


def timed_card(folder: Path, kind: str, key: str, seconds: float, **knobs: Any) -> None:
    """Write the card of an artifact that took so long; it has no weights."""
    facts = {"dataset": "mnist5k", "model": "cnn", "device": "cpu", "knobs": knobs}
    store(folder).save(kind, key, {}, {**facts, "seconds": seconds})


def forget_row(results: Results, cell: Cell, *, sweep: str = "s") -> None:
    """Remove what was written of the cell and not folded yet."""
    journal = results.journal(sweep)
    journal.remove(journal.names(cell.cell_id))


# The columns of a classifier's row that choosing, comparing and reporting read.
READ: dict[str, Any] = {
    "cell_id": "c",
    "status": "ok",
    "val_stopped": None,
    "eval_candidates": "full",
    "dataset": "d",
    "task": "classifier",
    "model": "cnn",
    "method": "fine-tune",
    "seed": 0,
    "val_forget_probability": np.nan,
    "val_forget_accuracy": 0.0,
    "val_retain_accuracy": 0.9,
}


def scored(**values: Any) -> dict[str, Any]:
    """A row as pandas reads it, with the columns that choosing needs and those given."""
    return {**READ, "forget": np.array([1]), **values}


def compared(
    method: str, seed: int, retain: float, forget: float = 0.0, **more: Any
) -> dict[str, Any]:
    """A row with the same accuracies on val and on test."""
    accuracies = {
        "val_forget_accuracy": forget,
        "val_retain_accuracy": retain,
        "test_forget_accuracy": forget,
        "test_retain_accuracy": retain,
        "original_test_retain_accuracy": 0.98,
        "oracle_test_retain_accuracy": 0.97,
    }
    named = {"cell_id": f"{method}-{seed}-{retain}", "method": method, "seed": seed}
    return scored(**{**named, **accuracies, **more})


def table(rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """These rows as one table."""
    return pd.DataFrame(list(rows))
