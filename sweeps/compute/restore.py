"""Rebuild the cell and the weights of a row."""

import json
import math
from dataclasses import fields
from typing import Any

import pandas as pd

from sweeps.compute.cache import WorkerCache, threads
from sweeps.compute.cell import unlearn
from sweeps.spec.cells import Cell, Problem, subset_of
from sweeps.spec.recipes import frozen
from sweeps.spec.sections import Evaluation, Train
from unlearn.artifacts import Store
from unlearn.errors import require
from unlearn.knobs import is_later
from unlearn.methods import METHODS
from unlearn.models import Weights


def cell_from(row: pd.Series) -> Cell:
    """Rebuild the cell of a row. Raises `BadInput` where its id differs from the row's."""
    problem = Problem(
        dataset=row["dataset"],
        model=row["model"],
        forget=tuple(int(label) for label in row["forget"]),
        seed=int(row["seed"]),
        train=_record(Train, row, "train_"),
        eval=_record(Evaluation, row, "eval_"),
        options=frozen(json.loads(row["options"])),
        subset=subset_of(row),
    )
    cell = Cell(problem, _record(METHODS[row["method"]], row))
    require(
        cell.cell_id == row["cell_id"],
        f"row {row['cell_id']} was written by another version of amnesia; run it again",
    )
    return cell


def _record(kind: Any, row: pd.Series, prefix: str = "") -> Any:
    """Return a dataclass from the columns that hold its fields."""
    values = {}
    for f in fields(kind):
        value = row.get(prefix + f.name)
        if is_later(f) and _is_null(value):
            continue  # the row is older than the field, whose default is what the code did then
        values[f.name] = _plain(value, f.type)
    return kind(**values)


def _is_null(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _plain(value: Any, kind: Any) -> Any:
    """Return a pandas value as the plain type of its field.

    Raises `BadInput` for a null: an older version had no such field.
    """
    require(
        value is not None, "the row was written by another version of amnesia; run its sweep again"
    )
    if kind == tuple[str, ...]:
        return tuple(map(str, value))
    return kind(value)


def weights_of(cache: WorkerCache, cell: Cell, row: pd.Series) -> Weights:
    """Return the cell's unlearned weights: from the store, else unlearned again.

    Unlearning uses as many threads as the row says; on the same kind of device all bits are equal.
    """
    if cache.store.has("unlearned", cell.cell_id):
        stored = cache.store.load("unlearned", cell.cell_id)
        return {name: tensor.to(cache.device) for name, tensor in stored.items()}
    with threads(int(row["threads"])):
        return unlearn(cache, cell, cache.needs(cell)).weights


def cache_for(row: pd.Series, data_root: str, device: str = "cpu") -> WorkerCache:
    """Return a worker cache on the store that the row names."""
    return WorkerCache(Store(row["store"]), data_root, device)
