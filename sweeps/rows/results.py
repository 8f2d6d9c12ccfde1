"""Rows: one Parquet file per cell, written atomically, so that a crash leaves no half row.

    <results>/v1/sweep=<name>/cell-<cell_id>.parquet        (after `compact`: rows-<hash>.parquet)

`pandas.read_parquet("<results>/v1")` gives one table; `sweep` comes from the folder's name.
"""

import io
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sweeps.rows.schema import PLAIN, ROWS, Row
from sweeps.spec.cells import SCHEMA
from unlearn.errors import BadInput
from unlearn.files import exists, folders, join, locate, write_whole

AGAIN = "; tried again: "


def _better(before: Row, failed: Row) -> Row:
    """Return the row to keep when a retry fails: scores with both errors, else the later row."""
    if before["status"] != "ok":
        return failed
    first, _, _ = before["error"].partition(AGAIN)
    return before | {"error": first + AGAIN + failed["error"]}


def in_full(
    tables: Iterable[pa.Table], place: str, columns: Sequence[str] | None = None
) -> pa.Table:
    """Concatenate tables; columns of `ROWS` come first, those of other versions last.

    columns: only these of `ROWS`; None for all

    Raises `BadInput` where another version gave a column another type.
    """
    known = ROWS.empty_table()
    if columns is not None:
        known = known.select(columns)
    try:
        return pa.concat_tables([known, *tables], promote_options="default")
    except pa.ArrowTypeError as error:
        raise BadInput(f"rows of {place} are of another version of amnesia: {error}") from error


def as_parquet(table: pa.Table) -> bytes:
    """Return the bytes of a Parquet file that holds the table."""
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


READERS = 16  # files read at a time: an object store answers many requests in parallel
LOOKS = 10  # tries to read a folder while `compact` folds its files


@dataclass(frozen=True)
class Results:
    """The rows under a folder: the only record of which cells are done.

    root: a local path or URL
    store: where the artifacts lie now, if they have moved since the rows were written
    """

    root: str
    store: str | None = None

    @property
    def table(self) -> str:
        """The folder that pandas reads."""
        return join(self.root, SCHEMA)

    def cell_file(self, sweep: str, cell_id: str) -> str:
        """Return the path of a cell's own file."""
        return join(self.table, f"sweep={sweep}", f"cell-{cell_id}.parquet")

    def write(self, sweep: str, row: Row) -> None:
        """Write or replace a cell's row; a reader sees the old row or the new one, never half.

        A failed row does not replace scores: a good row stays as it is; a row with scores and an
        error keeps its scores, and the new error is appended to its own.
        """
        known = self.find(sweep, row["cell_id"]) if row["status"] == "failed" else None
        if known is not None:
            if known["error"] is None:
                return
            row = _better(known, row)
        data = as_parquet(pa.Table.from_pylist([row], schema=PLAIN))
        path = self.cell_file(sweep, row["cell_id"])
        write_whole(path, data, join(self.table, ".tmp"))

    def sweeps(self) -> list[str]:
        """Return the names of the sweeps that have rows, sorted."""
        prefix = "sweep="
        names = folders(self.table)
        return [name.removeprefix(prefix) for name in names if name.startswith(prefix)]

    def read(self, sweep: str | None = None, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """Return all rows, or one sweep's, as `pandas.read_parquet` does, oldest first.

        columns: only these, beside `created_at` and `sweep`, which is much faster; None for all

        Raises `BadInput` where there are none.
        """
        known = self.sweeps()
        wanted = known if sweep is None else [sweep]
        if sweep is not None and sweep not in known:
            raise BadInput(
                f"no sweep {sweep!r} in {self.root}; known: {', '.join(known) or 'none'}"
            )
        if columns is not None:
            columns = list(dict.fromkeys([*columns, "created_at"]))
        tables = []
        for name in wanted:
            read = self._read_files(name, columns=columns)
            table = in_full(read, f"sweep {name} in {self.root}", columns)
            column = pa.array([name] * len(table), pa.string())
            tables.append(table.append_column("sweep", column))
        if not tables:
            raise BadInput(f"no rows in {self.root}; run a sweep with --results {self.root} first")
        rows = pa.concat_tables(tables, promote_options="default").to_pandas()
        rows = rows.sort_values("created_at", ignore_index=True)
        moved: pd.DataFrame = rows if self.store is None else rows.assign(store=self.store)
        return moved

    def _read_files(
        self, sweep: str, prefix: str = "", columns: Sequence[str] | None = None
    ) -> list[pa.Table]:
        """Read the sweep's files with that prefix, in the state of one moment."""
        for _ in range(LOOKS):
            paths = []
            for path in self.files(sweep):
                _, _, name = path.rpartition("/")
                if name.startswith(prefix):
                    paths.append(path)
            with ThreadPoolExecutor(READERS) as pool:
                parts = list(pool.map(lambda path: self._read_file(path, columns), paths))
            found = [part for part in parts if part is not None]
            if len(found) == len(parts):
                return found
        raise BadInput(
            f"files of sweep {sweep} in {self.root} vanish as they are read; "
            "wait until nothing moves them"
        )

    def _read_file(self, path: str, columns: Sequence[str] | None = None) -> pa.Table | None:
        """Read one file; None if a compaction has folded it since it was listed."""
        try:
            with locate(self.root)[0].open(path, "rb") as file:
                parquet = pq.ParquetFile(file)
                there = parquet.schema_arrow.names
                wanted = there if columns is None else [name for name in columns if name in there]
                return parquet.read(wanted, use_threads=False)  # files are read in parallel
        except FileNotFoundError:
            return None
        except pa.ArrowInvalid as error:
            raise BadInput(
                f"{path} is not a Parquet file of amnesia ({error}); move it away"
            ) from error

    def files(self, sweep: str) -> list[str]:
        """Return the paths of the sweep's Parquet files, sorted; [] where it has none."""
        fs, path = locate(join(self.table, f"sweep={sweep}"))
        fs.invalidate_cache()
        try:
            names = fs.ls(path, detail=False)
        except FileNotFoundError:
            return []
        found = []
        for name in names:
            _, _, base = name.rpartition("/")
            if base.endswith(".parquet") and not base.startswith((".", "_")):
                found.append(name)
        return sorted(found)

    def find(self, sweep: str, cell_id: str) -> Row | None:
        """Return the cell's row, from its own file or a folded one; None where it has none."""
        path = self.cell_file(sweep, cell_id)
        own = self._read_file(path) if exists(path) else None
        tables = self._read_files(sweep, "rows-") if own is None else [own]
        for table in tables:
            of_cell = table.filter(pc.equal(table["cell_id"], cell_id))
            for row in of_cell.to_pylist():
                return dict(row)
        return None

    def check_writable(self) -> None:
        """Write and remove an empty file, so that a place without write access fails early."""
        probe = join(self.table, ".tmp", "probe")
        fs, path = locate(probe)
        write_whole(probe, b"")
        fs.rm_file(path)


def is_local(root: str | Path) -> bool:
    """Whether `root` lies on a file system of this machine, mounted ones included."""
    return locate(root)[0].protocol in ("file", ("file", "local"))
