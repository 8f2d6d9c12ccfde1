"""The progress of a run, from its status record and its rows."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from sweeps.plan.record import records_of
from sweeps.rows.runs import (
    RunRecord,
    progress,
    progress_of,
    read_record,
    recorded,
    write_record,
)
from tests.sweeps import builders as make

RECORD = RunRecord("s", planned=6, done=1, slots=2, started_at=1000.0)


def table(*rows: tuple[float, float, str]) -> pd.DataFrame:
    """Rows that were written at a second, took some, and have a status; oldest first."""
    lines = []
    for at, wall_s, status in rows:
        stamp = pd.Timestamp(at, unit="s", tz="UTC")
        lines.append({"created_at": stamp, "wall_s": wall_s, "status": status, "error": None})
    return pd.DataFrame(lines, columns=["status", "error", "wall_s", "created_at"])


def test_rate_and_eta_are_those_of_the_rows_since_the_start() -> None:
    rows = table((500, 9, "ok"), (1030, 10, "ok"), (1040, 10, "failed"), (1050, 10, "ok"))
    seen = progress_of("s", rows, RECORD, now=1060.0)
    assert (seen.done, seen.failed, seen.left) == (3, 1, 3)
    assert seen.rate == pytest.approx(3 / 40)  # the first began at 1020: artifacts came before
    assert seen.eta_s == pytest.approx(40)
    assert (seen.running_s, seen.last_s) == (60, 10)


def test_a_finished_run_has_nothing_left_and_keeps_its_rate() -> None:
    rows = table(*((1010 + 10 * i, 10, "ok") for i in range(6)))
    seen = progress_of("s", rows, RECORD, now=9999.0)
    assert (seen.left, seen.eta_s) == (0, 0)
    assert seen.rate == pytest.approx(6 / 60)


def test_before_the_first_row_nothing_is_known_but_what_is_left() -> None:
    seen = progress_of("s", table(), RECORD, now=1005.0)
    assert (seen.done, seen.left, seen.rate, seen.eta_s, seen.last_s) == (0, 6, None, None, None)


def test_rows_without_a_record_say_what_is_done_alone() -> None:
    seen = progress_of("s", table((1000, 1, "ok")), None, now=1001.0)
    assert (seen.done, seen.left, seen.rate) == (1, None, None)


def test_a_record_is_read_as_it_was_written_and_is_no_sweep_of_rows(tmp_path: Path) -> None:
    results = make.results(tmp_path)
    assert read_record(results, "s") is None
    write_record(results, RECORD)
    assert read_record(results, "s") == RECORD
    assert (results.sweeps(), recorded(results)) == ([], ["s"])
    assert progress(results, "s", now=1005.0).left == 6
    (Path(results.table) / ".runs" / "s.json").write_text("{")
    assert read_record(results, "s") is None


def test_the_record_counts_what_the_plan_counts(tmp_path: Path) -> None:
    search: dict[str, Any] = {"trials": 4, "space": {"alpha": [-3.0, 0.0]}}
    sweep = make.sweep(method="task-arithmetic", search=search, eval={"candidates": "val"})
    results = make.results(tmp_path)
    (study,) = make.candidates(make.sources(tmp_path, sweep))
    for cell in study.take(1):
        make.write(results, cell, val_forget_accuracy=0.1, val_retain_accuracy=0.9)
    plan = make.plan(tmp_path, sweep)
    (record,) = records_of(plan, lambda resources: 3)
    assert (record.planned, record.done, record.slots) == (3 + 1, 1, 3)
    assert record.space == {"task-arithmetic": {"alpha": [-3.0, 0.0]}}
    assert abs(record.started_at - datetime.now(UTC).timestamp()) < 60
    write_record(results, record)
    assert read_record(results, "s") == record
