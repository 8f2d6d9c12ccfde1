"""The columns of a row as Arrow and Parquet have them, always all and in the same order."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any

import pyarrow as pa

from sweeps.rows.columns import COLUMNS
from sweeps.spec.cells import Cell
from sweeps.spec.recipes import SCHEMA
from unlearn.columns import Column
from unlearn.errors import require

FLOATS = pa.list_(pa.float64())
TYPES: dict[Any, pa.DataType] = {
    int: pa.int64(),
    float: pa.float64(),
    str: pa.string(),
    bool: pa.bool_(),
    datetime: pa.timestamp("us", tz="UTC"),
    list: FLOATS,
    list[int]: pa.list_(pa.int64()),
    list[list[float]]: pa.list_(FLOATS),
    tuple[str, ...]: pa.list_(pa.string()),
}
Row = dict[str, Any]


def _field(entry: Column) -> pa.Field:
    """Return the Parquet field of a column; what the dictionary says of it is its metadata."""
    facts = {
        "meaning": entry.meaning,
        "unit": entry.scale.unit,
        "direction": entry.scale.direction,
        "source": entry.source,
    }
    metadata = {key: text for key, text in facts.items() if text}
    return pa.field(entry.name, TYPES[entry.type], metadata=metadata)


# The columns of all methods, metrics and attacks; those that a cell lacks are null.
ROWS = pa.schema([_field(entry) for entry in COLUMNS.values()])


def type_name(name: str) -> str:
    """Return a column's type as text: `list of double` for Arrow's `list<element: double>`."""
    kind, depth = ROWS.field(name).type, 0
    while pa.types.is_list(kind):
        kind, depth = kind.value_type, depth + 1
    return "list of " * depth + str(kind)


def row_of(cell: Cell, columns: Mapping[str, Any]) -> Row:
    """Return the full row of a cell.

    columns: status, error, scores and provenance

    Raises `BadInput` for a column that is not in the schema.
    """
    problem = cell.problem
    row: Row = {
        "cell_id": cell.cell_id,
        "dataset": problem.dataset,
        "model": problem.model,
        "task": problem.task,
        "method": cell.method_name,
        "forget": list(problem.forget),
        "subset": problem.subset,
        "seed": problem.seed,
        "options": json.dumps(dict(problem.options), sort_keys=True),
    }
    row |= asdict(cell.method)
    for name, value in asdict(problem.train).items():
        row[f"train_{name}"] = value
    for name, value in asdict(problem.eval).items():
        row[f"eval_{name}"] = value
    row |= columns
    for name in row:
        require(
            name in COLUMNS,
            f"column {name!r} is not in schema {SCHEMA}; declare it before writing it",
        )
    return row
