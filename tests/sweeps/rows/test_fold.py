"""Folding: no step of it loses a row or doubles one, whoever dies, writes or folds beside it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sweeps.rows.fold import Folder, compact
from sweeps.rows.results import Results
from sweeps.rows.right import MARGIN_S, FileLock, Lease
from sweeps.rows.schema import ROWS
from sweeps.rows.tables import GROUP_ROWS, as_parquet, row_groups, table_of
from sweeps.spec.cells import Cell
from tests.sweeps import builders as make
from unlearn.errors import BadInput, CannotWrite, OutOfReach
from unlearn.files import write_whole


def cells(n: int) -> list[Cell]:
    grid = {"lam": list(range(1, n + 1))}
    return make.cells(models="cvae-mlp", method="selective-amnesia", forget=[0], grid=grid)


def write(results: Results, cell: Cell, status: str = "ok", **more: Any) -> None:
    make.write(results, cell, status, class_accuracy=[0.1] * 10, **more)


def write_as_before(results: Results, *cells: Cell, status: str = "ok", **more: Any) -> list[Path]:
    """Write rows as earlier versions did: a Parquet file of each cell."""
    folder = Path(results.folder("s"))
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for cell in cells:
        path = folder / f"cell-{cell.cell_id}.parquet"
        pq.write_table(pa.Table.from_pylist([make.row(cell, status, **more)], schema=ROWS), path)
        paths.append(path)
    return paths


def without_nulls(path: Path) -> None:
    """Keep the columns that hold something, as a version that knew no others would have written."""
    table = pq.read_table(path, partitioning=None)
    held = [name for name in table.column_names if table[name].null_count < len(table)]
    pq.write_table(table.select(held), path)


def visible(results: Results) -> list[str]:
    return sorted(path.name for path in Path(results.folder("s")).iterdir())


def statuses(root: Path) -> list[tuple[str, str]]:
    """(cell_id, status) of every row that pandas reads, sorted."""
    table = pd.read_parquet(root / "v1", columns=["cell_id", "status"])
    return sorted(zip(table["cell_id"], table["status"], strict=True))


def test_a_fold_shows_every_row_once_in_one_file(tmp_path: Path) -> None:
    results, many = Results(str(tmp_path)), cells(20)
    folder = Folder(results, "s")
    for cell in many[:12]:
        write(results, cell)
    before = results.read("s")
    assert folder.fold() == frozenset(cell.cell_id for cell in many[:12])
    for cell in many[12:]:
        write(results, cell)
    assert folder.fold() == frozenset(cell.cell_id for cell in many[12:])
    assert folder.fold() == frozenset()
    assert visible(results) == ["rows-00000.parquet"]
    assert statuses(tmp_path) == sorted((cell.cell_id, "ok") for cell in many)
    pd.testing.assert_frame_equal(results.read("s")[:12], before)
    assert not list((tmp_path / "v1" / ".journal" / "sweep=s").glob("*.json.gz"))


def test_a_full_file_stays_and_the_next_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sweeps.rows.fold.FILE_ROWS", 4)
    results, many = Results(str(tmp_path)), cells(13)
    folder = Folder(results, "s")
    for upto in (3, 4, 13):
        for cell in many[:upto]:
            if results.find("s", cell.cell_id) is None:
                write(results, cell)
        folder.fold()
    assert visible(results) == [f"rows-0000{number}.parquet" for number in range(4)]
    rows = [pq.read_metadata(path).num_rows for path in Path(results.folder("s")).iterdir()]
    assert sorted(rows) == [1, 4, 4, 4]
    assert statuses(tmp_path) == sorted((cell.cell_id, "ok") for cell in many)


def test_a_retry_replaces_the_failed_row_where_it_lies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sweeps.rows.fold.FILE_ROWS", 2)
    results, many = Results(str(tmp_path)), cells(4)
    write(results, many[0], status="failed", error="so it was")
    for cell in many[1:]:
        write(results, cell)
    compact(results)
    write(results, many[0])
    write(results, many[1], status="failed", error="out of memory")
    assert compact(results) == {"s": 4}
    assert statuses(tmp_path) == sorted((cell.cell_id, "ok") for cell in many)
    assert len(visible(results)) == 2


def test_row_groups_end_where_model_or_method_changes() -> None:
    """Filters by these read one group only; groups too small to pay for their footer are joined."""
    (cell, *_) = cells(1)
    row = make.row(cell)
    sizes = {"a": 40, "b": GROUP_ROWS, "c": GROUP_ROWS + 7}
    rows = [{**row, "model": model} for model, size in sizes.items() for _ in range(size)]
    table = table_of(rows)
    assert list(row_groups(table)) == [(0, 1040), (1040, 2047)]
    stored = pq.ParquetFile(pa.BufferReader(as_parquet(table)))
    assert stored.num_row_groups == 2
    model = ROWS.get_field_index("model")
    last = stored.metadata.row_group(1).column(model).statistics
    assert (last.min, last.max) == ("c", "c")


def test_rows_of_earlier_versions_are_folded_as_they_are(tmp_path: Path) -> None:
    """One file a cell, without today's columns and with one of its own; and a copy of a file."""
    results, (good, failed, new, copied) = Results(str(tmp_path)), cells(4)
    paths = write_as_before(results, good, copied)
    paths += write_as_before(results, failed, status="failed", error="so it was")
    for path in paths:
        older = pq.read_table(path, partitioning=None).drop_columns(["val_bar"])
        pq.write_table(older.append_column("glory", pa.array([1.0])), path)
    shutil.copy(paths[1], paths[1].with_name("cell (copy).parquet"))
    write(results, new, val_bar=0.5)
    before = results.read("s")
    assert len(before) == 4
    assert compact(results) == {"s": 4} == compact(results)
    assert visible(results) == ["rows-00000.parquet"]
    after = pd.read_parquet(tmp_path / "v1").sort_values("created_at", ignore_index=True)
    assert after["val_bar"].dropna().tolist() == [0.5]
    assert after["glory"].count() == 3
    pd.testing.assert_frame_equal(after.drop(columns="sweep"), before.drop(columns="sweep"))


def test_a_folded_file_of_an_earlier_version_gets_its_columns(tmp_path: Path) -> None:
    results, (one, other) = Results(str(tmp_path)), cells(2)
    (path,) = write_as_before(results, one)
    older = pq.read_table(path, partitioning=None).drop_columns(["val_bar"])
    pq.write_table(older, path.with_name("rows-0123456789abcdef.parquet"))
    path.unlink()
    write(results, other, val_bar=0.5)
    assert compact(results) == {"s": 2}
    assert visible(results) == ["rows-00000.parquet", "rows-0123456789abcdef.parquet"]
    assert pd.read_parquet(tmp_path / "v1")["val_bar"].dropna().tolist() == [0.5]


def test_a_copy_of_a_folded_file_doubles_nothing(tmp_path: Path) -> None:
    results, many = Results(str(tmp_path)), cells(3)
    for cell in many:
        write(results, cell)
    compact(results)
    first = Path(results.folder("s")) / "rows-00000.parquet"
    shutil.copy(first, first.with_name("rows-copy.parquet"))
    assert len(results.read("s")) == 3
    assert compact(results) == {"s": 3}
    assert statuses(tmp_path) == sorted((cell.cell_id, "ok") for cell in many)


def test_rows_that_pandas_wrote_again_are_read(tmp_path: Path) -> None:
    """With whole numbers where floats were, an index and the sweep as columns."""
    results, (one, other) = Results(str(tmp_path)), cells(2)
    write(results, one, val_bar=2.0)
    compact(results)
    path = Path(results.folder("s")) / "rows-00000.parquet"
    rows = pd.read_parquet(path).assign(sweep="s", val_bar=2, model=pd.Categorical(["cvae-mlp"]))
    rows.set_index(pd.Index([7])).to_parquet(path)
    write(results, other, val_bar=0.5)
    assert compact(results) == {"s": 2}
    assert sorted(pd.read_parquet(tmp_path / "v1")["val_bar"]) == [0.5, 2.0]
    assert pq.read_schema(path).remove_metadata() == ROWS.remove_metadata()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"odd\.parquet is not a Parquet file of amnesia"),
        (b"not parquet", r"odd\.parquet is not a Parquet file of amnesia"),
        ({"a": [1]}, r"odd\.parquet holds no rows of amnesia \(it has no cell_id\); move it away"),
        ({"cell_id": ["x"], "lam": ["much"]}, r"odd\.parquet: column lam is string, not double"),
    ],
)
def test_a_foreign_file_is_named(content: Any, message: str, tmp_path: Path) -> None:
    results, (cell, *_) = Results(str(tmp_path)), cells(1)
    write(results, cell)
    compact(results)
    path = Path(results.folder("s")) / "odd.parquet"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        pq.write_table(pa.table(content), path)
    for read in (lambda: results.read("s"), lambda: compact(results)):
        with pytest.raises(BadInput, match=message):
            read()
    assert visible(results) == ["odd.parquet", "rows-00000.parquet"]


def test_two_runs_of_a_spec_with_folds_between_their_steps(tmp_path: Path) -> None:
    """Both compute the same cell; a fold comes between any two steps of either."""
    steps = ["A looks", "B looks", "A writes", "B writes"]
    for fold_after in range(16):
        results, (cell, *_) = Results(str(tmp_path / str(fold_after))), cells(1)
        other = Folder(results, "s")
        for number, step in enumerate(steps):
            if "writes" in step:
                write(results, cell)
            if fold_after >> number & 1:
                other.fold()
        assert compact(results) == {"s": 1}
        assert len(pd.read_parquet(tmp_path / str(fold_after) / "v1")) == 1


def test_one_process_folds_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sweeps.rows.fold.PATIENCE_S", 0.0)
    results, (cell, *_) = Results(str(tmp_path)), cells(1)
    write(results, cell)
    one, other = Folder(results, "s"), Folder(results, "s")
    assert one.right.acquire()
    assert other.fold() is None
    with pytest.raises(BadInput, match="another process folds sweep s"):
        compact(results)
    one.right.release()
    assert other.fold() == frozenset([cell.cell_id])


class Clock:
    def __init__(self) -> None:
        self.time = 1000.0

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += seconds


def test_a_lease_passes_on_when_its_holder_is_gone() -> None:
    clock = Clock()
    path = "memory://leases/one"
    one = Lease(path, "one", clock.now, clock.sleep)
    other = Lease(path, "other", clock.now, clock.sleep)
    assert one.acquire()
    assert clock.time == 1001.0
    assert not other.acquire()
    clock.time = 1030.0 - MARGIN_S  # too little is left: it is renewed without a wait
    assert one.acquire()
    assert clock.time == 1020.0
    clock.time = 1049.0
    assert not other.acquire()
    clock.time = 1050.5  # nobody renewed it
    assert other.acquire()
    assert not one.acquire()
    one.resign()
    assert not one.acquire()
    other.resign()
    assert one.acquire()
    one.resign()


def test_of_two_that_take_a_lease_at_once_the_later_write_stays() -> None:
    clock, path = Clock(), "memory://leases/two"

    def overtaken(seconds: float) -> None:
        clock.sleep(seconds)
        write_whole(path, b'{"owner": "other", "until": 1031.0}')

    assert not Lease(path, "one", clock.now, overtaken).acquire()
    other = Lease(path, "other", clock.now, clock.sleep)
    assert other.acquire()
    other.resign()


def test_a_lease_takes_the_place_of_a_lock_where_the_file_system_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(file: int, how: int) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("fcntl.flock", refuse)
    clock = Clock()
    lease = Lease(str(tmp_path / "lease"), "one", clock.now, clock.sleep)
    lock = FileLock(tmp_path / "folder" / ".lock", lease)
    assert lock.acquire()
    assert not Lease(str(tmp_path / "lease"), "other", clock.now, clock.sleep).acquire()
    lock.release()
    lock.resign()
    assert not (tmp_path / "lease").exists()


def test_a_lease_that_cannot_be_read_is_not_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: str) -> bytes:
        raise OutOfReach(f"cannot reach {path}")

    monkeypatch.setattr("sweeps.rows.right.read_whole", refuse)
    lease = Lease(str(tmp_path / "lease"))
    with pytest.raises(OutOfReach):
        lease.acquire()
    assert not (tmp_path / "lease").exists()


def test_a_lock_that_cannot_be_made_is_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    lock = FileLock(file / ".lock", Lease(str(tmp_path / "lease")))
    with pytest.raises(CannotWrite, match=r"cannot write .*/file/\.lock: "):
        lock.acquire()


# Every call by which a fold changes the disk; a child process kills itself before the k-th of them.
KILLED = """
import os, shutil, signal, sys
from pathlib import Path
from sweeps.rows.fold import compact
from sweeps.rows.results import Results

CHANGES = ("mkdir", "fsync", "replace", "remove", "unlink", "rmdir")

def arm(k):
    left = [k]
    def counted(change):
        def call(*args, **more):
            left[0] -= 1
            if left[0] < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return change(*args, **more)
        return call
    for name in CHANGES:
        setattr(os, name, counted(getattr(os, name)))

start, ends = Path(sys.argv[1]), False
k = 0
while not ends:
    root = start.with_name(f"killed-{k:03d}")
    shutil.copytree(start, root)
    if os.fork() == 0:
        arm(k)
        compact(Results(str(root)))
        os._exit(0)
    ends = os.wait()[1] == 0
    k += 1
"""


@pytest.mark.parametrize("layout", ["today", "earlier version"])
def test_a_fold_killed_at_any_step_loses_and_doubles_nothing(layout: str, tmp_path: Path) -> None:
    """Folded rows, one of them failed; its retry and new rows are to be folded."""
    many, start = cells(6), tmp_path / "start"
    results = Results(str(start))
    write(results, many[0])
    write(results, many[1], status="failed", error="so it was")
    compact(results)
    seen_before = statuses(start)
    if layout == "today":
        write(results, many[1])
        write(results, many[2])
        write(results, many[3])
    else:
        for path in write_as_before(results, *many[1:4]):
            without_nulls(path)  # to read every column takes the most time
    command = [sys.executable, "-c", KILLED, str(start)]
    subprocess.run(command, env={**os.environ, "PYTHONPATH": os.getcwd()}, check=True)
    killed = sorted(tmp_path.glob("killed-*"))
    assert len(killed) >= 9
    planned = {cell.cell_id for cell in many[:4]}
    for root in killed:
        there = Results(str(root))
        if layout == "today":
            seen = dict(statuses(root))
            assert len(seen) == len(statuses(root)), root.name
            assert {cell for cell, _ in seen_before} <= set(seen) <= planned, root.name
        known = there.read("s", ["status"])
        assert sorted(known["cell_id"]) == sorted(planned), root.name
        assert set(known["status"]) == {"ok"}, root.name
        assert compact(there) == {"s": 4}, root.name
        assert statuses(root) == sorted((cell, "ok") for cell in planned), root.name
        assert visible(there) == ["rows-00000.parquet"], root.name


def test_a_killed_compaction_of_an_earlier_version_is_finished(tmp_path: Path) -> None:
    """It leaves a hidden folder that may hold rows which landed late."""
    results, many = Results(str(tmp_path)), cells(3)
    write(results, many[0])
    write(results, many[1], error="attack mia: by hand")
    compact(results)
    late = Results(str(tmp_path / "elsewhere"))
    write_as_before(late, many[0], many[2])
    write_as_before(late, many[1], status="failed", error="out of memory")
    hidden = tmp_path / "v1" / ".sweep=s"
    Path(late.folder("s")).rename(hidden)
    assert compact(results) == {"s": 3}
    assert not hidden.exists()
    assert set(results.read("s")["status"]) == {"ok"}


def test_an_object_store_is_folded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sweeps.rows.right.SETTLE_S", 0.0)
    results = Results("memory://bucket/folded")
    for cell in cells(3):
        write(results, cell)
    assert compact(results) == {"s": 3}
    assert [file.name for file in results.files("s")] == ["rows-00000.parquet"]
    assert results.journal("s").names() == []
