"""Show rows in a terminal, or write them for a script or a spreadsheet."""

import json
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
        rows = rows.sort_values(sort, ascending=not descending)
    return rows


def check_column(rows: pd.DataFrame, column: str) -> None:
    """Raise `BadInput` where there is no such column; the message names those that hold values."""
    with_values = rows.dropna(axis=1, how="all").columns
    require(
        column in rows,
        f"no column {column!r}; columns with values: {', '.join(with_values)}",
    )


def show(rows: pd.DataFrame, by: str | None, how: str) -> str:
    """Format rows as text.

    by: average over the rows that share a value of this column; None shows every row
    how: `table` (the main columns), `csv` or `json` (all columns)
    """
    require(how in FORMATS, f"unknown format {how!r}; known: {', '.join(FORMATS)}")
    if by:
        check_column(rows, by)
        rows = _means(rows, by)
    return FORMATS[how](rows, by)


def _means(rows: pd.DataFrame, by: str) -> pd.DataFrame:
    """Return one row per value of `by`: the number of cells, the mean of every numeric column."""
    groups = rows.groupby(rows[by].map(str))
    numeric = rows.select_dtypes("number").dropna(axis=1, how="all")
    columns = numeric.columns.difference([by])
    counts = groups.size().rename("cells")
    return groups[list(columns)].mean().join(counts).reset_index()


def _as_table(rows: pd.DataFrame, by: str | None) -> str:
    if rows.empty:
        return "no rows"
    first = [by, "cells"] if by else [*IDENTITY, *varied_knobs(rows)]
    known = [name for name in [*first, *MAIN] if name in rows]
    shown = rows[known].dropna(axis=1, how="all")
    return shown.to_string(index=False, float_format="{:.4g}".format)


def _as_csv(rows: pd.DataFrame, by: str | None) -> str:
    """Return all columns as CSV; lists are written as JSON."""
    flat = rows.copy()
    for name in rows:
        if any(isinstance(value, np.ndarray) for value in rows[name]):
            flat[name] = rows[name].map(_list_as_json, na_action="ignore")
    return flat.to_csv(index=False).rstrip("\n")


def _list_as_json(value: Any) -> str:
    return json.dumps(value, default=lambda array: array.tolist())


def _as_json(rows: pd.DataFrame, by: str | None) -> str:
    """Return all columns as a JSON list of objects, indented."""
    compact = rows.to_json(orient="records", date_format="iso")
    return json.dumps(json.loads(compact), indent=1)


FORMATS: dict[str, Callable[[pd.DataFrame, str | None], str]] = {
    "table": _as_table,
    "csv": _as_csv,
    "json": _as_json,
}
