"""Fold many one-row files into one, without a moment in which a row is missing or double."""

import ctypes
import hashlib
import io
import os
import shutil
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from sweeps.rows import Results, is_local
from unlearn.errors import BadInput
from unlearn.files import locate

AT_FDCWD, RENAME_EXCHANGE = -100, 2


def compact(results: Results) -> dict[str, int]:
    """Fold every sweep; returns sweep -> rows. A failed row keeps its own file, so that a retry can replace it; so does
    a row written meanwhile.

    The new folder is built hidden and then exchanged with the old one in one step of the kernel. Raises `BadInput` on
    an object store or a file system that cannot exchange folders.
    """
    if not is_local(results.root):
        raise BadInput(f"compact needs a local file system, not {results.root}; copy the results, compact, copy back")
    return {name: _fold(results, name) for name in results.sweeps()}


def _fold(results: Results, sweep: str) -> int:
    live = Path(locate(results.table)[1]) / f"sweep={sweep}"
    draft = live.with_name(f".sweep={sweep}")
    recover(results, sweep)
    tables = {path: pq.read_table(path) for path in sorted(live.glob("[!._]*.parquet"))}
    good = {path: table for path, table in tables.items() if set(table["status"].to_pylist()) == {"ok"}}
    if len(good) > 1:
        draft.mkdir()
        _write(draft, pa.concat_tables(good.values(), promote_options="default"))
        for path in tables.keys() - good.keys():
            shutil.copy2(path, draft / path.name)
        exchange(draft, live)
        _keep_late_rows(draft, live, {path.name for path in tables})
        shutil.rmtree(draft)
    return sum(len(table) for table in tables.values())


def _write(folder: Path, table: pa.Table) -> None:
    sink = io.BytesIO()
    pq.write_table(table, sink)
    data = sink.getvalue()
    with open(folder / f"rows-{hashlib.sha256(data).hexdigest()[:16]}.parquet", "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def recover(results: Results, sweep: str) -> None:
    """Clear what a killed compaction left: a draft that never went live, or the old folder after the exchange.

    Of the old folder only rows that the live one lacks are of use: those written while the exchange happened.
    """
    if not is_local(results.root):
        return
    live = Path(locate(results.table)[1]) / f"sweep={sweep}"
    draft = live.with_name(f".sweep={sweep}")
    if draft.exists():
        known = {cell for path in live.glob("[!._]*.parquet") for cell in pq.read_table(path)["cell_id"].to_pylist()}
        for path in draft.glob("cell-*.parquet"):
            if path.name.removeprefix("cell-").removesuffix(".parquet") not in known:
                os.replace(path, live / path.name)
        shutil.rmtree(draft)


def _keep_late_rows(old: Path, live: Path, folded: set[str]) -> None:
    """Move rows that arrived between reading and exchanging."""
    for path in old.glob("cell-*.parquet"):
        if path.name not in folded:
            os.replace(path, live / path.name)


def exchange(a: Path, b: Path) -> None:
    """Swap two folders atomically: `renameat2` on Linux, `renamex_np` on macOS."""
    libc = ctypes.CDLL(None, use_errno=True)
    names = os.fsencode(a), os.fsencode(b)
    if sys.platform == "darwin":
        failed = libc.renamex_np(*names, 2)
    elif hasattr(libc, "renameat2"):
        failed = libc.renameat2(AT_FDCWD, names[0], AT_FDCWD, names[1], RENAME_EXCHANGE)
    else:
        raise BadInput("compact needs a kernel that can exchange two folders (Linux 3.15 or newer, macOS)")
    if failed:
        reason = os.strerror(ctypes.get_errno())
        raise BadInput(
            f"this file system cannot exchange {a} and {b} ({reason}); copy the results to a local disk first"
        )
