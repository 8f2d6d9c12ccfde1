"""Rows as text: every digit in JSON, an order for lists, groups in the order of their values."""

import json
import re
from pathlib import Path

from sweeps.report.show import select, show
from tests.sweeps import builders as make


def test_json_keeps_every_digit(tmp_path: Path) -> None:
    results = make.results(tmp_path)
    small, missing = make.cells(forget=[0], grid={"steps": [5, 6]})
    make.write(results, small, retain_accuracy=1.2345678901234567e-12, wall_s=float("inf"))
    make.write(results, missing)

    first, second = json.loads(show(results.read(), None, "json"))

    assert first["retain_accuracy"] == 1.2345678901234567e-12
    assert first["wall_s"] is None  # JSON has no infinity
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


def test_groups_stand_in_the_order_of_their_values(tmp_path: Path) -> None:
    results = make.results(tmp_path)
    for cell in make.cells(grid={"steps": [10, 9, 100]}):
        make.write(results, cell)

    head, *lines = show(results.read(), "steps", "table").splitlines()

    assert head.split()[:2] == ["steps", "cells"]
    assert [float(line.split()[0]) for line in lines] == [9, 10, 100]
