"""Rows: exactly one per cell, readable by pandas, never half written, folded without loss."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sweeps.choose.comparable import varied_knobs
from sweeps.compute.restore import cell_from
from sweeps.report.show import show
from sweeps.rows.compact import compact, exchange, recover
from sweeps.rows.results import Results
from sweeps.rows.schema import ROWS
from sweeps.spec.cells import Cell
from tests.sweeps import builders as make
from unlearn.errors import BadInput


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
    write(results, cells(1)[0], error="no lira: out of memory")
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


def test_hidden_files_are_no_rows(tmp_path: Path) -> None:
    results = Results(str(tmp_path))
    write(results, cells(1)[0])
    folder = tmp_path / "v1" / "sweep=s"
    (folder / ".cell-half.parquet.tmp").write_bytes(b"PAR1 half")
    (tmp_path / "v1" / ".tmp" / ".cell-x.parquet.tmp").write_bytes(b"PAR1 half")
    assert len(results.read()) == 1 == len(pd.read_parquet(tmp_path / "v1"))
    (folder / "cell-broken.parquet").write_bytes(b"not parquet")
    with pytest.raises(BadInput, match=r"cell-broken\.parquet is not a Parquet file"):
        results.read()


def test_compact_keeps_every_row_once_and_failed_ones_replaceable(tmp_path: Path) -> None:
    results, many = Results(str(tmp_path)), cells(20)
    for cell in many[:19]:
        write(results, cell)
    write(results, many[19], status="failed", error="so it was")
    before = results.read("s").sort_values("cell_id", ignore_index=True)
    assert compact(results) == {"s": 20}
    after = pd.read_parquet(tmp_path / "v1").sort_values("cell_id", ignore_index=True)
    assert list(after["cell_id"]) == list(before["cell_id"])
    assert len(list((tmp_path / "v1" / "sweep=s").iterdir())) == 2
    assert [results.find("s", cell.cell_id)["lam"] for cell in many] == list(range(1, 21))  # type: ignore[index]
    assert results.find("s", "another") is None
    write(results, many[19])
    assert set(results.read("s")["status"]) == {"ok"}
    assert compact(results) == {"s": 20} == compact(results)
    assert len(pd.read_parquet(tmp_path / "v1")) == 20


def test_pandas_reads_new_columns_beside_rows_of_an_older_version_once_folded(
    tmp_path: Path,
) -> None:
    """Good and failed ones; what only the older version knew stays."""
    results, (good, failed, new) = Results(str(tmp_path)), cells(3)
    write(results, good)
    write(results, failed, status="failed", error="so it was")
    for cell in (good, failed):
        path = results.cell_file("s", cell.cell_id)
        older = pq.read_table(path, partitioning=None).drop_columns(["val_bar"])
        pq.write_table(older.append_column("glory", pa.array([1.0])), path)
    write(results, new, val_bar=0.5)
    before = results.read("s")
    assert compact(results) == {"s": 3} == compact(results)
    after = pd.read_parquet(tmp_path / "v1").sort_values("created_at", ignore_index=True)
    assert after["val_bar"].dropna().tolist() == [0.5]
    assert after["glory"].count() == 2
    pd.testing.assert_frame_equal(after.drop(columns="sweep"), before.drop(columns="sweep"))


@pytest.mark.parametrize("kept", ["ok", "failed"])
def test_a_row_alone_of_an_older_version_gets_its_columns(kept: str, tmp_path: Path) -> None:
    results, (cell, *_) = Results(str(tmp_path)), cells(1)
    write(results, cell, status=kept, error=None if kept == "ok" else "so it was")
    path = results.cell_file("s", cell.cell_id)
    pq.write_table(pq.read_table(path, partitioning=None).drop_columns(["val_bar"]), path)
    assert compact(results) == {"s": 1}
    assert "val_bar" in pd.read_parquet(tmp_path / "v1")


@pytest.mark.parametrize("how", ["read", "find"])
@pytest.mark.parametrize("when", ["while they are listed", "once they are listed"])
def test_rows_that_are_folded_while_they_are_read_are_all_read(
    when: str, how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also those that were folded before."""
    results, many = Results(str(tmp_path)), cells(6)
    for cell in many[:3]:
        write(results, cell)
    compact(results)
    for cell in many[3:]:
        write(results, cell)
    listing, scan = Results.files, os.scandir

    def fold_behind(self: Results, sweep: str) -> list[str]:
        paths = listing(self, sweep)
        monkeypatch.undo()
        compact(results)
        return paths

    @contextmanager
    def scan_before(path: str) -> Iterator[list[os.DirEntry[str]]]:
        monkeypatch.undo()
        with scan(path) as entries:
            found = list(entries)
        compact(results)
        yield found

    def beside(self: Results, sweep: str) -> list[str]:
        monkeypatch.setattr("os.scandir", scan_before)
        return listing(self, sweep)

    monkeypatch.setattr(Results, "files", fold_behind if when == "once they are listed" else beside)
    if how == "read":
        assert len(results.read("s")) == 6
    else:
        assert results.find("s", many[0].cell_id) is not None
    assert len(list((tmp_path / "v1" / "sweep=s").iterdir())) == 1


def test_rows_that_never_stay_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = Results(str(tmp_path))
    write(results, cells(1)[0])
    monkeypatch.setattr(Results, "files", lambda self, sweep: [f"{tmp_path}/gone.parquet"])
    with pytest.raises(BadInput, match="vanish as they are read"):
        results.read("s")


def test_compactions_and_runs_that_begin_wait_for_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No compaction removes the folder that another is still building."""
    results, many = Results(str(tmp_path)), cells(4)
    for cell in many[:3]:
        write(results, cell)
    write(results, many[3], status="failed", error="so it was")
    before = statuses(tmp_path)
    beside = [Thread(target=recover, args=(results, "s")), Thread(target=compact, args=(results,))]

    flush = os.fsync

    def flush_beside(file: int) -> None:
        monkeypatch.undo()
        for thread in beside:
            thread.start()
            thread.join(0.2)
        assert all(thread.is_alive() for thread in beside)
        flush(file)

    monkeypatch.setattr("os.fsync", flush_beside)  # of the folded rows
    assert compact(results) == {"s": 4}
    for thread in beside:
        thread.join()
    assert statuses(tmp_path) == before


def test_a_path_is_no_pattern(tmp_path: Path) -> None:
    results = Results(str(tmp_path / "run[1] of *?"))
    for cell in cells(3):
        write(results, cell)
    assert len(results.read("s")) == 3
    compact(results)
    assert len(results.read("s")) == 3
    assert results.find("s", cells(1)[0].cell_id) is not None


def test_rows_written_while_compacting_are_kept(tmp_path: Path) -> None:
    """A compaction killed after the exchange leaves the old folder, whose own rows come back."""
    results, many = Results(str(tmp_path)), cells(4)
    for cell in many[:3]:
        write(results, cell)
    old = tmp_path / "v1" / ".sweep=s"
    compact(results)
    late = Results(str(tmp_path / "elsewhere"))
    write(late, many[3])
    write(late, many[0])
    (tmp_path / "elsewhere" / "v1" / "sweep=s").rename(old)
    recover(results, "s")
    assert not old.exists()
    assert set(results.read("s")["cell_id"]) == {cell.cell_id for cell in many}
    assert len(results.read("s")) == 4


def test_a_failed_retry_that_lands_while_compacting_costs_no_scores(tmp_path: Path) -> None:
    results, late, many = Results(str(tmp_path)), Results(str(tmp_path / "elsewhere")), cells(2)
    write(results, many[0], error="attack mia: by hand")
    write(late, many[0], status="failed", error="out of memory")
    (tmp_path / "elsewhere" / "v1" / "sweep=s").rename(tmp_path / "v1" / ".sweep=s")
    recover(results, "s")
    assert results.read("s")["status"].tolist() == ["ok"]


@pytest.mark.parametrize("landed", ["before the exchange", "after the exchange"])
def test_a_retry_that_lands_while_compacting_wins(
    landed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results, many = Results(str(tmp_path)), cells(4)
    for cell in many[1:]:
        write(results, cell)
    write(results, many[0], status="failed", error="so it was")

    def exchange_beside_a_retry(draft: Path, live: Path) -> None:
        if landed == "after the exchange":
            exchange(draft, live)
        write(results, many[0])
        if landed == "before the exchange":
            exchange(draft, live)

    monkeypatch.setattr("sweeps.rows.compact.exchange", exchange_beside_a_retry)
    assert compact(results) == {"s": 4}
    rows = results.read("s")
    assert len(rows) == 4
    assert dict(zip(rows["cell_id"], rows["status"], strict=True)) == {
        cell.cell_id: "ok" for cell in many
    }


MOMENTS = [
    "after os.mkdir",  # the hidden folder is empty
    "before os.fsync",  # the folded rows are being written
    "after os.fsync",  # the folded rows are written
    "before os.replace",  # the failed row is being copied
    "before compact.exchange",
    "after compact.exchange",
    "before shutil.rmtree",  # the rows that landed late are in the new folder
    "after os.unlink",  # the old folder is half gone
    "after shutil.rmtree",
]
KILLED = """
import os, shutil, signal, sys
from pathlib import Path
from sweeps.rows import compact
from sweeps.rows.results import Results

exchange = compact.exchange

def exchange_beside_late_rows(draft, live):
    for path in live.parents[1].glob("late/v1/sweep=s/*"):
        path.rename(live / path.name)
    exchange(draft, live)

def killed(when, function):
    def call(*args, **more):
        if when == "after":
            function(*args, **more)
        os.kill(os.getpid(), signal.SIGKILL)
    return call

compact.exchange = exchange_beside_late_rows
for root in Path(sys.argv[1]).iterdir():
    when, module, name = root.name.replace(".", " ").split()
    if os.fork() == 0:
        setattr(globals()[module], name, killed(when, getattr(globals()[module], name)))
        compact.compact(Results(str(root)))
        os._exit(0)
    print(root.name, os.waitstatus_to_exitcode(os.wait()[1]), sep=": ")
"""


def lay_out(root: Path, many: list[Cell]) -> None:
    """Two good rows, a failed one; `late`: its retry and a new row, to land before the exchange."""
    for cell in many[:2]:
        write(Results(str(root)), cell)
    write(Results(str(root)), many[2], status="failed", error="so it was")
    for cell in many[2:]:
        write(Results(str(root / "late")), cell)


def statuses(root: Path) -> list[tuple[str, str]]:
    """(cell_id, status) of every row that pandas reads, sorted."""
    table = pd.read_parquet(root / "v1", columns=["cell_id", "status"])
    return sorted(zip(table["cell_id"], table["status"], strict=True))


def test_compact_killed_at_any_moment_loses_and_doubles_nothing(tmp_path: Path) -> None:
    """Each child process kills itself; the rows it had no time to write are written afterwards."""
    many = cells(4)
    lay_out(tmp_path / MOMENTS[0], many)
    for moment in MOMENTS[1:]:
        shutil.copytree(tmp_path / MOMENTS[0], tmp_path / moment)
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    died = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": os.getcwd()}, stdout=subprocess.PIPE, text=True
    )
    assert sorted(died.stdout.splitlines()) == sorted(
        f"{moment}: {-signal.SIGKILL}" for moment in MOMENTS
    )
    for moment in MOMENTS:
        root, live = tmp_path / moment, tmp_path / moment / "v1" / "sweep=s"
        seen = [cell_id for cell_id, _ in statuses(root)]
        assert len(seen) == len(set(seen)), moment
        assert set(seen) >= {cell.cell_id for cell in many[:3]}, moment
        for path in (root / "late" / "v1" / "sweep=s").iterdir():
            path.rename(live / path.name)
        assert compact(Results(str(root))) == {"s": 4}, moment
        assert statuses(root) == sorted((cell.cell_id, "ok") for cell in many), moment
        assert [path.name for path in live.parent.glob("*sweep=s")] == ["sweep=s"], moment


def test_an_object_store_holds_rows_too() -> None:
    results = Results("memory://bucket/results")
    for cell in cells(2):
        write(results, cell)
    assert sorted(results.read("s")["lam"]) == [1, 2]
    results.check_writable()
    with pytest.raises(BadInput, match="compact needs a local file system"):
        compact(results)
