"""Rows: exactly one per cell, durable when written, readable by pandas once they are folded."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from sweeps.choose.comparable import varied_knobs
from sweeps.compute.restore import cell_from
from sweeps.report.show import show
from sweeps.rows.fold import compact
from sweeps.rows.merge import merged
from sweeps.rows.results import Lookup, Results, RowFile
from sweeps.rows.schema import ROWS
from sweeps.spec.cells import Cell
from tests.sweeps import builders as make
from unlearn.errors import BadInput
from unlearn.files import read_whole


def cells(n: int) -> list[Cell]:
    grid = {"lam": list(range(1, n + 1))}
    return make.cells(models="cvae-mlp", method="selective-amnesia", forget=[0], grid=grid)


def write(results: Results, cell: Cell, status: str = "ok", **more: Any) -> None:
    make.write(results, cell, status, class_accuracy=[0.1] * 10, **more)


def test_pandas_reads_one_table(tmp_path: Path) -> None:
    results = Results(str(tmp_path))
    for cell in cells(3):
        write(results, cell)
    write(results, cells(3)[0], error="written again")
    assert len(results.read()) == 3
    compact(results)
    table = pd.read_parquet(tmp_path / "v1")
    assert len(table) == 3 == table["cell_id"].nunique()
    assert set(table["sweep"]) == {"s"}
    assert sorted(table["lam"]) == [1, 2, 3]
    assert list(table["forget"].iloc[0]) == [0]
    assert set(ROWS.names) < set(table.columns)


def test_a_failed_row_never_replaces_scores(tmp_path: Path) -> None:
    """Neither a good one's, be it folded or not, nor those of one that lacks an attack."""
    results, (one, other, whole, lacking, failed) = Results(str(tmp_path)), cells(5)
    write(results, one)
    write(results, other)
    compact(results)
    write(results, whole)
    write(results, lacking, error="attack mia: by hand")
    write(results, failed, status="failed", error="by hand")
    before = results.read("s").set_index("cell_id")
    for why in ("out of memory", "out of disk"):
        for cell in (one, whole, lacking, failed):
            make.write(results, cell, "failed", error=why)
    after = results.read("s").set_index("cell_id")
    assert after.index.is_unique
    before.loc[lacking.cell_id, "error"] = "attack mia: by hand; tried again: out of disk"
    for cell in (one, other, whole, lacking):
        row, kept = after.loc[cell.cell_id], before.loc[cell.cell_id]
        assert isinstance(row, pd.Series)
        assert isinstance(kept, pd.Series)
        pd.testing.assert_series_equal(row, kept)
    assert tuple(after.loc[failed.cell_id, ["status", "error"]]) == ("failed", "out of disk")


def test_show_names_what_was_tried_and_what_it_groups_by(tmp_path: Path) -> None:
    results = Results(str(tmp_path))
    for cell in cells(3):
        write(results, cell, forget_probability=0.25)
    head, *lines = show(results.read(), None, "table").splitlines()
    assert {"lam", "forget_probability"} < set(head.split())
    assert not {"steps", "lr", "batch"} & set(head.split())
    assert len(lines) == 3
    head, line = show(results.read(), "train_steps", "table").splitlines()
    assert head.split() == ["train_steps", "cells", "forget_probability"]
    none = results.read().query("error.notna()")
    assert [show(none, None, how) for how in ("table", "json")] == ["no rows", "[]"]
    assert len(show(none, None, "csv").splitlines()) == 1
    write(results, cells(4)[3], error="no lira: out of memory")
    shown = show(results.read().query("error.notna()"), None, "table")
    assert "no lira: out of memory" in shown
    assert line.split()[1:] == ["3", "0.25"]


def test_how_an_expert_was_made_is_tried_like_a_knob() -> None:
    """By the methods that need one; the others' rows do not differ in it."""
    rows = pd.DataFrame({"method": ["task-arithmetic", "ssd"] * 2, "alpha": -1.0})
    rows["train_expert_steps"] = [20, 20, 60, 60]
    assert varied_knobs(rows) == ["train_expert_steps"]
    assert varied_knobs(rows[rows["method"] == "ssd"]) == []


def test_a_row_leads_back_to_its_cell(tmp_path: Path) -> None:
    results, (cell, *_) = Results(str(tmp_path)), cells(1)
    write(results, cell)
    row = results.read("s").iloc[0]
    assert cell_from(row) == cell
    row["train_steps"] += 1
    with pytest.raises(BadInput, match="another version"):
        cell_from(row)


def test_an_undeclared_column_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="'glory' is not in schema v1"):
        make.row(cells(1)[0], glory=1.0)


def test_a_row_is_found_before_and_after_it_is_folded(tmp_path: Path) -> None:
    results, (one, other, *_) = Results(str(tmp_path)), cells(3)
    write(results, one, val_bar=2.1e-12)
    kept = Lookup(results, "s")
    for _ in ("in the journal", "folded"):
        for lookup in (kept, Lookup(results, "s")):
            row = lookup.row(one.cell_id)
            assert row is not None
            assert (row["lam"], row["val_bar"]) == (1, 2.1e-12)
            assert lookup.row(other.cell_id) is None
        compact(results)
    assert results.read(columns=["lam"])["lam"].tolist() == [1]


def test_a_look_up_reads_no_row_of_another_cell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results, many = Results(str(tmp_path)), cells(6)
    for cell in many[:3]:
        write(results, cell)
    compact(results)
    for cell in many[3:5]:
        write(results, cell)
    lookup, asked = Lookup(results, "s"), list[str]()
    lookup.refresh()

    def read(path: str) -> bytes:
        asked.append(path)
        return read_whole(path)

    for module in ("journal", "tables"):
        monkeypatch.setattr(f"sweeps.rows.{module}.read_whole", read)
    assert lookup.row(many[5].cell_id) is None
    assert asked == []
    assert lookup.row(many[3].cell_id) is not None
    assert len(asked) == 1
    assert many[3].cell_id in asked[0]


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), 5e-324, 0.1 + 0.2])
def test_the_journal_keeps_every_digit(value: float, tmp_path: Path) -> None:
    results, (cell, *_) = Results(str(tmp_path)), cells(1)
    make.write(results, cell, val_bar=value, class_accuracy=[value, 1.0])
    for _ in ("in the journal", "folded"):
        row = results.read("s").iloc[0]
        assert row["val_bar"] == value
        assert list(row["class_accuracy"]) == [value, 1.0]
        compact(results)


def test_a_damaged_record_is_named(tmp_path: Path) -> None:
    results, (cell, *_) = Results(str(tmp_path)), cells(1)
    write(results, cell)
    (record,) = (tmp_path / "v1" / ".journal" / "sweep=s").glob("*.json.gz")
    record.write_bytes(record.read_bytes()[:40])
    with pytest.raises(BadInput, match=r"json\.gz is damaged .*; remove it, its cell runs again"):
        results.read("s")


def test_hidden_files_are_no_rows(tmp_path: Path) -> None:
    results = Results(str(tmp_path))
    write(results, cells(1)[0])
    compact(results)
    folder = tmp_path / "v1" / "sweep=s"
    (folder / ".cell-half.parquet.tmp").write_bytes(b"PAR1 half")
    (tmp_path / "v1" / ".tmp" / ".cell-x.parquet.tmp").write_bytes(b"PAR1 half")
    assert len(results.read()) == 1 == len(pd.read_parquet(tmp_path / "v1"))


def test_rows_that_never_stay_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = Results(str(tmp_path))
    write(results, cells(1)[0])
    gone = RowFile(f"{tmp_path}/gone.parquet", "")
    monkeypatch.setattr(Results, "files", lambda self, sweep: [gone])
    with pytest.raises(BadInput, match="vanish as they are read"):
        results.read("s")


def test_a_path_is_no_pattern(tmp_path: Path) -> None:
    results = Results(str(tmp_path / "run[1] of *?"))
    for cell in cells(3):
        write(results, cell)
    assert len(results.read("s")) == 3
    compact(results)
    assert len(results.read("s")) == 3
    assert results.find("s", cells(1)[0].cell_id) is not None


def test_an_object_store_holds_rows_too() -> None:
    results = Results("memory://bucket/results")
    for cell in cells(2):
        write(results, cell)
    assert sorted(results.read("s")["lam"]) == [1, 2]
    results.check_writable()


def test_two_rows_of_a_cell_merge_into_one() -> None:
    """Whichever was folded first: hand-worked for all pairs of good, lacking and failed."""
    (cell, *_) = cells(1)
    good, lacking = make.row(cell), make.row(cell, error="attack mia: by hand")
    failed = make.row(cell, "failed", error="out of memory")
    later = make.row(cell, error="attack lira: later")
    assert merged(good, lacking) is good
    assert merged(good, failed) is good
    assert merged(good, make.row(cell)) is good
    assert merged(lacking, good) is good
    assert merged(failed, lacking) is lacking
    assert merged(lacking, later) is later
    again = merged(lacking, failed)
    assert again["error"] == "attack mia: by hand; tried again: out of memory"
    assert again["status"] == "ok"
    assert merged(again, failed) == again
