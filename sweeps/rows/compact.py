"""Fold many one-row files into one.

At every moment each row is there exactly once. Only a row that is written during the folding may be
invisible until the folding ends.
"""

import ctypes
import fcntl
import hashlib
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from sweeps.rows.results import Results, as_parquet, in_full, is_local
from unlearn.errors import BadInput
from unlearn.files import locate, write_whole

AT_FDCWD, RENAME_EXCHANGE = -100, 2


def compact(results: Results) -> dict[str, int]:
    """Fold every sweep; return sweep -> number of rows.

    A row with an error keeps its own file, so that a retry can replace it; so does a row that is
    written during the folding. Rows of an older version get all columns that it lacked, as nulls,
    because pandas takes the columns from the first file that it reads.

    The new folder is built under a hidden name, then exchanged with the old one atomically.
    Raises `BadInput` on an object store, and on a file system that cannot exchange folders.
    """
    if not is_local(results.root):
        raise BadInput(
            f"compact needs a local file system, not {results.root}; "
            "copy the results, compact, copy back"
        )
    return {name: _fold(results, name) for name in results.sweeps()}


def _fold(results: Results, sweep: str) -> int:
    """Fold one sweep and return its number of rows."""
    live, draft = _folders(results, sweep)
    with _alone(live.parent):
        _recover(live, draft)
        tables: dict[Path, pa.Table] = {}
        good: dict[Path, pa.Table] = {}
        older = False
        for path in sorted(live.glob("[!._]*.parquet")):
            stored = pq.read_table(path)
            table = in_full([stored], str(path))
            tables[path] = table
            if not any(table["error"].to_pylist()):
                good[path] = table
            older = older or stored.column_names != table.column_names
        if len(good) > 1 or older:
            draft.mkdir()
            if good:
                _write(draft, in_full(good.values(), str(live)))
            for path in tables.keys() - good.keys():
                write_whole(draft / path.name, as_parquet(tables[path]))
            exchange(draft, live)
            _recover(live, draft)
    return sum(len(table) for table in tables.values())


def _write(folder: Path, table: pa.Table) -> None:
    """Write the table to a file that is named by its hash, through to the disk."""
    data = as_parquet(table)
    name = hashlib.sha256(data).hexdigest()[:16]
    with open(folder / f"rows-{name}.parquet", "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def recover(results: Results, sweep: str) -> None:
    """Remove the hidden folder of a killed compaction, once no other compaction runs.

    It is a draft that never went live, or the old folder after the exchange. The old folder may
    hold rows that were written during the exchange, new ones and retries: these are kept.
    """
    if not is_local(results.root):
        return
    live, draft = _folders(results, sweep)
    if draft.exists():
        with _alone(draft.parent):
            _recover(live, draft)


def _folders(results: Results, sweep: str) -> tuple[Path, Path]:
    """Return the sweep's folder, and the hidden folder that a compaction builds beside it."""
    table = Path(locate(results.table)[1])
    return table / f"sweep={sweep}", table / f".sweep={sweep}"


@contextmanager
def _alone(table: Path) -> Iterator[None]:
    """Hold the lock of this table; the kernel releases it if the process is killed."""
    held = os.open(table, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
    except OSError as error:
        os.close(held)
        raise BadInput(
            f"this file system cannot lock {table} ({error.strerror}); compact on a local disk"
        ) from error
    try:
        yield
    finally:
        os.close(held)


def _recover(live: Path, draft: Path) -> None:
    """Move late rows out of the hidden folder, then remove it."""
    if draft.exists():
        _keep_late_rows(draft, live)
        shutil.rmtree(draft)


def _keep_late_rows(hidden: Path, live: Path) -> None:
    """Move each row that the live folder lacks, or holds only in its state before a retry."""
    folded: set[str] = set()
    for path in live.glob("rows-*.parquet"):
        cells = pq.read_table(path, columns=["cell_id"])["cell_id"].to_pylist()
        folded |= {f"cell-{cell}.parquet" for cell in cells}
    for path in hidden.glob("cell-*.parquet"):
        if path.name in folded:
            continue
        known = live / path.name
        if not known.exists() or _rank(path) > _rank(known):
            os.replace(path, known)


def _rank(path: Path) -> tuple[bool, bool, datetime]:
    """Return the rank of a cell's row: failed < scores with an error < good; then by time."""
    (row,) = pq.read_table(path, columns=["status", "error", "created_at"]).to_pylist()
    return row["status"] == "ok", row["error"] is None, row["created_at"]


def exchange(a: Path, b: Path) -> None:
    """Swap two folders atomically: `renameat2` on Linux, `renamex_np` on macOS."""
    libc = ctypes.CDLL(None, use_errno=True)
    names = os.fsencode(a), os.fsencode(b)
    if sys.platform == "darwin":
        failed = libc.renamex_np(*names, 2)
    elif hasattr(libc, "renameat2"):
        failed = libc.renameat2(AT_FDCWD, names[0], AT_FDCWD, names[1], RENAME_EXCHANGE)
    else:
        raise BadInput(
            "compact needs a kernel that can exchange two folders (Linux 3.15 or newer, macOS)"
        )
    if failed:
        reason = os.strerror(ctypes.get_errno())
        raise BadInput(
            f"this file system cannot exchange {a} and {b} ({reason}); "
            "copy the results to a local disk first"
        )
