"""Rows as text: every digit in JSON, an order for lists, groups in the order of their values."""

import io
import json
import math
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from sweeps.report.show import select, show
from sweeps.rows.results import Results
from tests.sweeps import builders as make
from unlearn.errors import BadInput


def test_json_keeps_every_digit(tmp_path: Path) -> None:
    results = make.results(tmp_path)
    small, missing = make.cells(forget=[0], grid={"steps": [5, 6]})
    make.write(results, small, retain_accuracy=1.2345678901234567e-12)
    make.write(results, missing)

    first, second = json.loads(show(results.read(), None, "json"))

    assert first["retain_accuracy"] == 1.2345678901234567e-12
    assert second["retain_accuracy"] is None
    assert first["forget"] == [0]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", first["created_at"])


def test_rows_are_sorted_by_a_column_of_lists_and_show_it(tmp_path: Path) -> None:
    results = make.results(tmp_path)
    for cell in make.cells(forget=[[2], [0, 1], [0]]):
        make.write(results, cell, artifact_oracle="key")

    rows = select(results, None, None, "forget")
    assert [list(labels) for labels in rows["forget"]] == [[0], [0, 1], [2]]
    assert "artifact_oracle" not in show(rows, None, "table")
    assert "artifact_oracle" in show(rows, None, "table", sort="artifact_oracle")


def test_what_else_than_classes_is_forgotten_is_shown_where_there_is_any(tmp_path: Path) -> None:
    results = make.results(tmp_path)
    make.write(results, make.cell())
    assert "subset" not in show(results.read(), None, "table")
    make.write(results, make.cell(forget=[{"random": 0.1}]))
    assert "random 0.1" in show(results.read(), None, "table")


def test_groups_stand_in_the_order_of_their_values(tmp_path: Path) -> None:
    results = make.results(tmp_path)
    for cell in make.cells(grid={"steps": [10, 9, 100]}):
        make.write(results, cell)

    head, *lines = show(results.read(), "steps", "table").splitlines()

    assert head.split()[:2] == ["steps", "cells"]
    assert [float(line.split()[0]) for line in lines] == [9, 10, 100]


def test_infinities_stay_values_in_every_format(tmp_path: Path) -> None:
    results = make.results(tmp_path)
    scores: dict[str, Any] = {"forget_elbo": -math.inf, "retain_elbo": math.inf, "zrf": math.nan}
    make.write(results, make.cell(), **scores, class_accuracy=[0.5, math.inf, math.nan])
    rows = results.read()

    [record] = json.loads(show(rows, None, "json"))
    csv = pd.read_csv(io.StringIO(show(rows, None, "csv"))).iloc[0]
    table = show(rows, None, "table", sort="forget_elbo")

    assert (record["forget_elbo"], record["retain_elbo"]) == ("-Infinity", "Infinity")
    assert record["zrf"] is None
    assert record["class_accuracy"] == [0.5, "Infinity", None]
    assert (csv["forget_elbo"], csv["retain_elbo"]) == (-math.inf, math.inf)
    assert csv["class_accuracy"] == '[0.5, "Infinity", null]'
    assert "-inf" in table.splitlines()[1].split()


def test_candidates_are_shown_with_the_scores_that_they_have(tmp_path: Path) -> None:
    results = make.results(tmp_path)
    make.write(results, make.cell())
    assert "val_images" not in show(results.read(), None, "table")
    candidate = make.cell(eval={"candidates": "val"})
    scores: dict[str, Any] = {
        "val_forget_accuracy": 0.125,
        "val_retain_accuracy": 0.875,
        "val_images": 40,
    }
    make.write(results, candidate, **scores)

    table = show(results.read(), None, "table")

    assert {"val_forget_accuracy", "val_retain_accuracy", "val_images"} <= set(table.split())
    assert {"0.125", "0.875"} <= set(table.split())


@pytest.fixture(scope="module")
def four_rows(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """Two seeds of two cells each, which no test changes."""
    results = make.results(tmp_path_factory.mktemp("four"))
    for cell in make.cells(seeds=[0, 1], grid={"steps": [5, 6]}):
        make.write(results, cell, val_stopped=cell.problem.seed == 1, curve=[[3.0, 2.0], [1.0]])
    return results


@pytest.mark.parametrize(
    ("where", "rows"),
    [
        ("steps > 5 and seed == 0", 1),
        ("steps > 5", 2),
        ("val_stopped == True", 2),
        ("error.isna()", 4),
        ("method == 'ssd'", 0),
    ],
)
def test_a_condition_keeps_the_rows_that_meet_it(where: str, rows: int, four_rows: Results) -> None:
    found = select(four_rows, None, where, None)
    assert len(found) == rows
    for how in ("table", "csv", "json"):
        for by in (None, "seed"):
            assert show(found, by, how)


def test_a_group_of_opposite_infinities_has_no_mean(tmp_path: Path) -> None:
    results = make.results(tmp_path)
    for cell, score in zip(make.cells(seeds=[0, 1]), (math.inf, -math.inf), strict=True):
        make.write(results, cell, forget_elbo=score, retain_elbo=1.5)

    [record] = json.loads(show(results.read(), "method", "json"))

    assert (record["forget_elbo"], record["retain_elbo"]) == (None, 1.5)


@pytest.mark.parametrize("where", ["1", "True", "seed", "steps + 1", "steps = 3", "'a'", "[1]"])
def test_a_condition_that_is_not_true_or_false_is_refused(where: str, four_rows: Results) -> None:
    """`DataFrame.query` takes `seed` for labels of rows, and gives the rows 0, 0, 1, 1."""
    says = f"--where {where!r} is not true or false for every row; compare, as in 'seed == 0'"
    with pytest.raises(BadInput, match=re.escape(says)):
        select(four_rows, None, where, None)


@pytest.mark.parametrize("where", ["steps >", "nowhere == 1", "seed.x", "__import__('os')", "@os"])
def test_a_condition_that_pandas_cannot_read_is_one_line(where: str, four_rows: Results) -> None:
    with pytest.raises(BadInput, match="is not a pandas query over the columns") as caught:
        select(four_rows, None, where, None)
    assert "\n" not in str(caught.value)


def test_rows_are_sorted_and_grouped_by_a_column_of_lists_of_lists(tmp_path: Path) -> None:
    results = make.results(tmp_path)
    make.write(results, make.cell(), curve=[[3.0, 2.0], [1.0]])
    make.write(results, make.cell(forget=[2]), curve=[[0.5, 9.0], [1.0]])

    rows = select(results, None, None, "curve")
    groups = show(rows, "curve", "table").splitlines()

    assert rows["curve"].iloc[0][0][0] == 0.5
    assert len(groups) == 1 + 2
