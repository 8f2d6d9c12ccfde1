"""From a row back to its cell and its weights."""

import json
from dataclasses import fields
from typing import Any

import pandas as pd

from sweeps.compute.cache import WorkerCache, threads
from sweeps.compute.cell import unlearn
from sweeps.spec.cells import Cell, Problem, frozen
from sweeps.spec.sweep import Evaluation, Train
from unlearn.artifacts import Store
from unlearn.errors import require
from unlearn.methods import METHODS
from unlearn.models import Weights


def cell_from(row: pd.Series) -> Cell:
    """The cell that a row tells of; its id is checked against the row's."""
    problem = Problem(
        row["dataset"],
        row["model"],
        tuple(int(label) for label in row["forget"]),
        int(row["seed"]),
        Train(**{f.name: _plain(row[f"train_{f.name}"], f.type) for f in fields(Train)}),
        Evaluation(**{f.name: _plain(row[f"eval_{f.name}"], f.type) for f in fields(Evaluation)}),
        frozen(json.loads(row["options"])),
    )
    knobs = {f.name: _plain(row[f.name], f.type) for f in fields(METHODS[row["method"]])}
    cell = Cell(problem, row["method"], tuple(sorted(knobs.items())))
    require(
        cell.cell_id == row["cell_id"],
        f"row {row['cell_id']} was written by another version of amnesia; run it again",
    )
    return cell


def _plain(value: Any, kind: Any) -> Any:
    """A pandas value as the plain type of its field; a null stands where an older amnesia had no such field."""
    require(
        value is not None, "the row was written by another version of amnesia; run its sweep again"
    )
    return tuple(str(item) for item in value) if kind == tuple[str, ...] else kind(value)


def weights_of(cache: WorkerCache, cell: Cell, row: pd.Series) -> Weights:
    """The cell's unlearned weights: from the store, else made again (on as many threads as its row says, and so on the
    same kind of device the same bits)."""
    if cache.store.has("unlearned", cell.cell_id):
        return {
            k: t.to(cache.device) for k, t in cache.store.load("unlearned", cell.cell_id).items()
        }
    with threads(int(row["threads"])):
        return unlearn(cache, cell, cache.needs(cell)).weights


def bench_for(row: pd.Series, data_root: str, device: str = "cpu") -> WorkerCache:
    """A worker cache on the store that the row names."""
    return WorkerCache(Store(row["store"]), data_root, device)
