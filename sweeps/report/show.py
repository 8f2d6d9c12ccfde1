"""Show rows in a terminal, or write them for a script or a spreadsheet."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from sweeps.choose.comparable import forgotten, varied_knobs
from sweeps.rows.plain import plain
from sweeps.rows.results import Results
from unlearn.errors import BadInput, require

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

VAL = ["val_forget_accuracy", "val_retain_accuracy", "val_images"]  # all that a candidate has


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
        rows = rows[_mask(rows, where)]
    if sort:
        check_column(rows, sort)
        rows = rows.sort_values(sort, ascending=not descending, key=_comparable)
    return rows


def _mask(rows: pd.DataFrame, where: str) -> pd.Series:
    """Return true or false per row. Raises `BadInput` for an expression that gives anything else.

    `DataFrame.query` would take numbers for labels of rows: `seed` gives the rows 0, 0, 1, ...
    """
    try:
        found: Any = rows.eval(where, engine="python")
    except Exception as error:  # the expression can make pandas raise anything
        reason = " ".join(str(error).split())
        raise BadInput(
            f"--where {where!r} is not a pandas query over the columns: {reason}"
        ) from error
    require(
        isinstance(found, pd.Series) and pd.api.types.is_bool_dtype(found),
        f"--where {where!r} is not true or false for every row; compare, as in 'seed == 0'",
    )
    mask: pd.Series = found
    return mask


def _comparable(column: pd.Series) -> pd.Series:
    """Return the column with its lists as tuples, which have an order."""
    return column.map(_as_tuple)


def _as_tuple(value: Any) -> Any:
    if isinstance(value, np.ndarray | list):
        return tuple(_as_tuple(inner) for inner in value)
    return value


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
    identity = ["sweep", "cell_id", "model", "method", *forgotten(rows), "seed", "status", "error"]
    return FORMATS[how](rows, [*identity, *varied_knobs(rows), *sorted_by])


def _means(rows: pd.DataFrame, by: str) -> pd.DataFrame:
    """Return one row per value of `by`: the number of cells, the mean of every numeric column.

    In the order of the values, so that 9 comes before 10.
    """
    rows = rows.sort_values(by, key=_comparable)
    groups = rows.groupby(rows[by].map(str), sort=False)
    numeric = rows.select_dtypes("number").dropna(axis=1, how="all")
    columns = numeric.columns.difference([by])
    counts = groups.size().rename("cells")
    with np.errstate(invalid="ignore"):  # inf and -inf in one group have no mean
        means = groups[list(columns)].mean()
    return means.join(counts).reset_index()


def _as_table(rows: pd.DataFrame, first: list[str]) -> str:
    """Return the columns `first`, then the main ones; columns without a value are left out."""
    if rows.empty:
        return "no rows"
    on_val = "eval_candidates" in rows and rows["eval_candidates"].eq("val").any()
    scores = [*VAL, *MAIN] if on_val else MAIN
    wanted = dict.fromkeys([*first, *scores])  # each once, in this order
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
    return json.dumps(plain(value), allow_nan=False)


def _as_json(rows: pd.DataFrame, first: list[str]) -> str:
    """Return all columns as a JSON list of objects, indented.

    Numbers keep every digit; `plain` says what becomes of infinities and missing values.
    """
    records = []
    for row in rows.to_dict("records"):
        records.append({str(name): _timed(plain(value)) for name, value in row.items()})
    return json.dumps(records, indent=1, allow_nan=False)


def _timed(value: Any) -> Any:
    """Return a time as text: UTC, in milliseconds."""
    if not isinstance(value, pd.Timestamp):
        return value
    return value.isoformat(timespec="milliseconds").replace("+00:00", "Z")


FORMATS: dict[str, Callable[[pd.DataFrame, list[str]], str]] = {
    "table": _as_table,
    "csv": _as_csv,
    "json": _as_json,
}
