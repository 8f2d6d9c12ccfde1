"""Rows: one Parquet file a cell, written whole, so that a cell has exactly one row whatever dies.

    <results>/v1/sweep=<name>/cell-<cell_id>.parquet        (after `compact`: rows-<hash>.parquet)

`pandas.read_parquet("<results>/v1")` gives one table; `sweep` comes from the folder's name.
"""

import io
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sweeps.rows.schema import ROWS, Row
from sweeps.spec.cells import SCHEMA
from unlearn.errors import BadInput
from unlearn.files import exists, folders, join, locate, write_whole

AGAIN = "; tried again: "


def _better(before: Row, failed: Row) -> Row:
    """The failed row; where the one `before`, which holds an error too, has scores: that one with both errors."""
    if before["status"] != "ok":
        return failed
    return before | {"error": before["error"].partition(AGAIN)[0] + AGAIN + failed["error"]}


def in_full(tables: Iterable[pa.Table], place: str) -> pa.Table:
    """All rows, with every column of `ROWS`; those that only other versions know come last."""
    try:
        return pa.concat_tables([ROWS.empty_table(), *tables], promote_options="default")
    except pa.ArrowTypeError as error:
        raise BadInput(f"rows of {place} are of another version of amnesia: {error}") from error


def as_parquet(table: pa.Table) -> bytes:
    """What a Parquet file of the table holds."""
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


READERS = 16  # files at once: an object store answers side by side
LOOKS = 10  # at a folder whose files `compact` folds away while they are read


@dataclass(frozen=True)
class Results:
    """The rows under `root` (a local path or URL); the only journal of what is done. `store`: where their artifacts lie
    now, if no longer where the rows say."""

    root: str
    store: str | None = None

    @property
    def table(self) -> str:
        """What pandas reads."""
        return join(self.root, SCHEMA)

    def cell_file(self, sweep: str, cell_id: str) -> str:
        return join(self.table, f"sweep={sweep}", f"cell-{cell_id}.parquet")

    def write(self, sweep: str, row: Row) -> None:
        """Write or replace a cell's row; a reader sees the old row or the new, never half of one. A failed row leaves a
        good one alone, and of one that has scores and an error the scores, with its own error behind the other."""
        if row["status"] == "failed" and (known := self.find(sweep, row["cell_id"])):
            if known["error"] is None:
                return
            row = _better(known, row)
        data = as_parquet(pa.Table.from_pylist([row], schema=ROWS))
        write_whole(self.cell_file(sweep, row["cell_id"]), data, join(self.table, ".tmp"))

    def sweeps(self) -> list[str]:
        """The sweeps that have rows, sorted."""
        return [
            name.removeprefix("sweep=") for name in folders(self.table) if name.startswith("sweep=")
        ]

    def read(self, sweep: str | None = None) -> pd.DataFrame:
        """All rows, or one sweep's, as `pandas.read_parquet` gives them, oldest first."""
        wanted = self.sweeps() if sweep is None else [sweep]
        if sweep is not None and sweep not in self.sweeps():
            raise BadInput(
                f"no sweep {sweep!r} in {self.root}; known: {', '.join(self.sweeps()) or 'none'}"
            )
        tables = []
        for name in wanted:
            table = in_full(self._read_files(name), f"sweep {name} in {self.root}")
            tables.append(table.append_column("sweep", pa.array([name] * len(table), pa.string())))
        if not tables:
            raise BadInput(f"no rows in {self.root}; run a sweep with --results {self.root} first")
        rows = pa.concat_tables(tables, promote_options="default").to_pandas()
        rows = rows.sort_values("created_at", ignore_index=True)
        return rows if self.store is None else rows.assign(store=self.store)

    def _read_files(self, sweep: str, prefix: str = "") -> list[pa.Table]:
        """The sweep's files of that prefix, all as they lay there at one time."""
        for _ in range(LOOKS):
            paths = [
                path for path in self.files(sweep) if path.rpartition("/")[2].startswith(prefix)
            ]
            with ThreadPoolExecutor(READERS) as pool:
                parts = list(pool.map(self._read_file, paths))
            found = [part for part in parts if part is not None]
            if len(found) == len(parts):
                return found
        raise BadInput(
            f"files of sweep {sweep} in {self.root} vanish as they are read; wait until nothing moves them"
        )

    def _read_file(self, path: str) -> pa.Table | None:
        """None where it was folded away since it was listed."""
        try:
            with locate(self.root)[0].open(path, "rb") as file:
                return pq.read_table(file, use_threads=False)  # the files are read side by side
        except FileNotFoundError:
            return None
        except pa.ArrowInvalid as error:
            raise BadInput(
                f"{path} is not a Parquet file of amnesia ({error}); move it away"
            ) from error

    def files(self, sweep: str) -> list[str]:
        """Paths of the sweep's Parquet files, by name alone: one that is being folded away is listed as well."""
        fs, path = locate(join(self.table, f"sweep={sweep}"))
        fs.invalidate_cache()
        try:
            names = fs.ls(path, detail=False)
        except FileNotFoundError:
            return []
        return sorted(
            name
            for name in names
            if name.endswith(".parquet") and name.rpartition("/")[2][0] not in "._"
        )

    def find(self, sweep: str, cell_id: str) -> Row | None:
        """The cell's row, in its own file or folded by `compact`."""
        path = self.cell_file(sweep, cell_id)
        own = self._read_file(path) if exists(path) else None
        for table in [own] if own is not None else self._read_files(sweep, "rows-"):
            for row in table.filter(pc.equal(table["cell_id"], cell_id)).to_pylist():
                return dict(row)
        return None

    def check_writable(self) -> None:
        """Refuse, before anything is computed, a place where rows cannot be written."""
        fs, path = locate(join(self.table, ".tmp", "probe"))
        write_whole(join(self.table, ".tmp", "probe"), b"")
        fs.rm_file(path)


def is_local(root: str | Path) -> bool:
    """Whether `root` lies on a file system of this machine (or mounted there)."""
    return locate(root)[0].protocol in ("file", ("file", "local"))
