"""Show rows in a terminal, or write them for a script or a spreadsheet."""

import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from sweeps.choose.comparable import varied_knobs
from sweeps.rows.results import Results
from unlearn.errors import BadInput, require

IDENTITY = ["sweep", "cell_id", "model", "method", "forget", "seed", "status", "error"]
MAIN = [  # the columns of the table, after a row's identity and the knobs that vary
    "forget_probability",
    "forget_accuracy",
    "retain_accuracy",
    "forget_entropy",
    "test_forget_accuracy",
    "test_retain_accuracy",
    "js_to_oracle",
    "mia_auc",
    "original_retain_accuracy",
    "oracle_forget_probability",
    "oracle_test_retain_accuracy",
    "wall_s",
]


def select(
    results: Results,
    sweep: str | None,
    where: str | None,
    sort: str | None,
    descending: bool = False,
) -> pd.DataFrame:
    """Read rows, filter them by a pandas query, and sort them by a column.

    sweep: the sweep to read; None reads all
    where: a pandas query over the columns; None keeps all rows
    sort: a column; None keeps the order, oldest first

    Raises `BadInput` for an invalid query or an unknown column.
    """
    rows = results.read(sweep)
    if where:
        try:
            rows = rows.query(where, engine="python")
        except Exception as error:  # the expression can make pandas raise anything
            raise BadInput(
                f"--where {where!r} is not a pandas query over the columns: {error}"
            ) from error
    if sort:
        check_column(rows, sort)
        rows = rows.sort_values(sort, ascending=not descending, key=_comparable)
    return rows


def _comparable(column: pd.Series) -> pd.Series:
    """Return the column with its lists as tuples, which have an order."""
    return column.map(lambda value: tuple(value) if isinstance(value, np.ndarray) else value)


def check_column(rows: pd.DataFrame, column: str) -> None:
    """Raise `BadInput` where there is no such column; the message names those that hold values."""
    with_values = rows.dropna(axis=1, how="all").columns
    require(
        column in rows,
        f"no column {column!r}; columns with values: {', '.join(with_values)}",
    )


def show(rows: pd.DataFrame, by: str | None, how: str, sort: str | None = None) -> str:
    """Format rows as text.

    by: average over the rows that share a value of this column; None shows every row
    how: `table` (the main columns), `csv` or `json` (all columns)
    sort: the column that the rows are sorted by, which the table then shows as well
    """
    require(how in FORMATS, f"unknown format {how!r}; known: {', '.join(FORMATS)}")
    if by:
        check_column(rows, by)
        return FORMATS[how](_means(rows, by), [by, "cells"])
    sorted_by = [sort] if sort else []
    return FORMATS[how](rows, [*IDENTITY, *varied_knobs(rows), *sorted_by])


def _means(rows: pd.DataFrame, by: str) -> pd.DataFrame:
    """Return one row per value of `by`: the number of cells, the mean of every numeric column.

    In the order of the values, so that 9 comes before 10.
    """
    rows = rows.sort_values(by, key=_comparable)
    groups = rows.groupby(rows[by].map(str), sort=False)
    numeric = rows.select_dtypes("number").dropna(axis=1, how="all")
    columns = numeric.columns.difference([by])
    counts = groups.size().rename("cells")
    return groups[list(columns)].mean().join(counts).reset_index()


def _as_table(rows: pd.DataFrame, first: list[str]) -> str:
    """Return the columns `first`, then the main ones; columns without a value are left out."""
    if rows.empty:
        return "no rows"
    wanted = dict.fromkeys([*first, *MAIN])  # each once, in this order
    shown = rows[[name for name in wanted if name in rows]].dropna(axis=1, how="all")
    return shown.to_string(index=False, float_format="{:.4g}".format)


def _as_csv(rows: pd.DataFrame, first: list[str]) -> str:
    """Return all columns as CSV; lists are written as JSON."""
    flat = rows.copy()
    for name in rows:
        if any(isinstance(value, np.ndarray) for value in rows[name]):
            flat[name] = rows[name].map(_list_as_json, na_action="ignore")
    return flat.to_csv(index=False).rstrip("\n")


def _list_as_json(value: Any) -> str:
    return json.dumps(value, default=lambda array: array.tolist())


def _as_json(rows: pd.DataFrame, first: list[str]) -> str:
    """Return all columns as a JSON list of objects, indented.

    Numbers keep every digit. What JSON has no word for (nan, infinity, a missing value) is null.
    """
    records = [_plain(record) for record in rows.to_dict("records")]
    return json.dumps(records, indent=1, allow_nan=False)


def _plain(value: Any) -> Any:
    """Return a value of pandas as JSON has it."""
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | np.ndarray):
        return [_plain(inner) for inner in value]
    if value is None or value is pd.NaT:
        return None
    if isinstance(value, pd.Timestamp):
        return value.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    plain = value.item() if isinstance(value, np.generic) else value
    return None if isinstance(plain, float) and not math.isfinite(plain) else plain


FORMATS: dict[str, Callable[[pd.DataFrame, list[str]], str]] = {
    "table": _as_table,
    "csv": _as_csv,
    "json": _as_json,
}
