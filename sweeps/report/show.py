"""Rows for a terminal, a script, a spreadsheet."""

import json
from typing import Any

import numpy as np
import pandas as pd

from sweeps.choose.comparable import varied_knobs
from sweeps.rows.results import Results
from unlearn.errors import BadInput, require

FORMATS = ("table", "csv", "json")
FIRST = ["sweep", "cell_id", "model", "method", "forget", "seed", "status", "error"]
MAIN = [
    "forget_probability", "forget_accuracy", "retain_accuracy", "forget_entropy",
    "test_forget_accuracy", "test_retain_accuracy", "js_to_oracle", "mia_auc",
    "original_retain_accuracy", "oracle_forget_probability", "oracle_test_retain_accuracy",
    "wall_s",
]  # fmt: skip


def select(
    results: Results,
    sweep: str | None,
    where: str | None,
    sort: str | None,
    descending: bool = False,
) -> pd.DataFrame:
    """Rows of one sweep or all, filtered by a pandas query and sorted by a column."""
    rows = results.read(sweep)
    if where:
        try:
            rows = rows.query(where, engine="python")
        except Exception as error:  # pandas raises whatever the expression makes it raise
            raise BadInput(
                f"--where {where!r} is not a pandas query over the columns: {error}"
            ) from error
    if sort:
        check_column(rows, sort)
        rows = rows.sort_values(sort, ascending=not descending)
    return rows


def check_column(rows: pd.DataFrame, column: str) -> None:
    """Refuse a column that does not exist, naming those that hold something."""
    require(
        column in rows,
        f"no column {column!r}; columns with values: {', '.join(rows.dropna(axis=1, how='all').columns)}",
    )


def _as_json(value: Any) -> str:
    """A list as it would stand in JSON; the CSV cell of a Parquet list."""
    return json.dumps(value, default=lambda array: array.tolist())


def show(rows: pd.DataFrame, by: str | None, how: str) -> str:
    """The rows as text: a table of the main columns, or all columns as CSV or JSON; `by` averages over groups."""
    require(how in FORMATS, f"unknown format {how!r}; known: {', '.join(FORMATS)}")
    if by:
        check_column(rows, by)
        key = rows[by].map(str)
        numeric = rows.select_dtypes("number").dropna(axis=1, how="all").columns.difference([by])
        rows = (
            rows.groupby(key)[list(numeric)]
            .mean()
            .join(rows.groupby(key).size().rename("cells"))
            .reset_index()
        )
    if how == "csv":
        lists = [
            name for name in rows if any(isinstance(value, np.ndarray) for value in rows[name])
        ]
        flat = rows.copy()
        for name in lists:
            flat[name] = flat[name].map(_as_json, na_action="ignore")
        return flat.to_csv(index=False).rstrip("\n")
    if how == "json":
        return json.dumps(json.loads(rows.to_json(orient="records", date_format="iso")), indent=1)
    if rows.empty:
        return "no rows"
    first = [by, "cells"] if by else [*FIRST, *varied_knobs(rows)]
    shown = rows[[name for name in [*first, *MAIN] if name in rows]].dropna(axis=1, how="all")
    return shown.to_string(index=False, float_format=lambda value: f"{value:.4g}")
