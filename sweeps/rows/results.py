"""Rows: exactly one per cell, durable when the cell is scored, in few large files for pandas.

    <results>/v1/sweep=<name>/rows-<number>.parquet       folded rows; each cell is in one file
    <results>/v1/.journal/sweep=<name>/...                rows that no file above holds yet

`pandas.read_parquet("<results>/v1")` gives one table; `sweep` comes from the folder's name. A run
folds its journal every few seconds and at its end (`sweeps.rows.fold`). Readers here merge both.
Earlier versions wrote one file a cell, `cell-<cell_id>.parquet`; these are read too.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from sweeps.rows.journal import READERS, Journal, journals
from sweeps.rows.merge import merged_by_cell
from sweeps.rows.schema import ROWS, Row
from sweeps.rows.tables import in_full, read_parquet, table_of
from sweeps.spec.recipes import SCHEMA
from unlearn.errors import BadInput
from unlearn.files import folders, join, locate, reaching, remove_all, write_whole

LOOKS = 10  # tries to read a folder while one-row files of earlier versions are folded
PROBE = 2**16  # bytes that a place must have room for: those of a few rows
MERGED_BY = ["cell_id", "status", "error", "created_at"]  # the columns that merging rows reads


@dataclass(frozen=True)
class RowFile:
    """A visible Parquet file of rows, as it was when it was listed.

    path: of the file
    state: changes whenever the file is replaced
    """

    path: str
    state: str

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]

    @property
    def folded(self) -> bool:
        """Whether it is a folded file; else it has one row, of an earlier version, or is a copy."""
        return self.name.startswith("rows-")


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

    def folder(self, sweep: str) -> str:
        """Return the folder of a sweep's visible files."""
        return join(self.table, f"sweep={sweep}")

    def journal(self, sweep: str) -> Journal:
        """Return the journal of a sweep."""
        return Journal(self.root, sweep)

    def write(self, sweep: str, row: Row) -> None:
        """Write a cell's row; it is durable on return.

        Reads no other row. Where the cell has a row already, `sweeps.rows.merge` says which stays.
        Raises `CannotWrite`.
        """
        self.journal(sweep).write(row)

    def sweeps(self) -> list[str]:
        """Return the names of the sweeps that have rows, sorted."""
        prefix = "sweep="
        visible = {name for name in folders(self.table) if name.startswith(prefix)}
        names = {name.removeprefix(prefix) for name in visible}
        return sorted(names | set(journals(self.root)))

    def read(self, sweep: str | None = None, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """Return all rows, or one sweep's, as `pandas.read_parquet` does, oldest first.

        columns: only these, and those by which rows are merged; reading few is much faster

        Raises `BadInput` where there are none.
        """
        known = self.sweeps()
        wanted = known if sweep is None else [sweep]
        if sweep is not None and sweep not in known:
            raise BadInput(
                f"no sweep {sweep!r} in {self.root}; known: {', '.join(known) or 'none'}"
            )
        tables = []
        for name in wanted:
            table = self.read_table(name, columns)
            column = pa.array([name] * len(table), pa.string())
            tables.append(table.append_column("sweep", column))
        if not tables:
            raise BadInput(f"no rows in {self.root}; run a sweep with --results {self.root} first")
        rows = pa.concat_tables(tables, promote_options="default").sort_by("created_at").to_pandas()
        moved: pd.DataFrame = rows if self.store is None else rows.assign(store=self.store)
        return moved

    def read_table(self, sweep: str, columns: Sequence[str] | None = None) -> pa.Table:
        """Return a sweep's rows, each cell once; folded ones as they lie in their files."""
        if columns is not None:
            columns = list(dict.fromkeys([*columns, *MERGED_BY]))
        loose, folded = self._read_files(sweep, columns)
        place = f"sweep {sweep} in {self.root}"
        table = in_full(folded, place, columns)
        return _merged(table, loose)

    def _read_files(
        self, sweep: str, columns: list[str] | None
    ) -> tuple[list[Row], list[pa.Table]]:
        """Return (rows outside of folded files, tables of the folded files), of one moment.

        The journal is read first: a record that is folded meanwhile is in a file by then.
        """
        for _ in range(LOOKS):
            journal = self.journal(sweep)
            loose = list(journal.read(journal.names()).values())
            files = self.files(sweep)
            with ThreadPoolExecutor(READERS) as pool:
                tables = list(pool.map(lambda file: _read_file(file, columns), files))
            folded: list[pa.Table] = []
            vanished = False
            for file, table in zip(files, tables, strict=True):
                if table is None:
                    vanished = True
                elif file.folded:
                    folded.append(table)
                else:
                    loose += table.to_pylist()
            if not vanished:
                return loose, folded
        raise BadInput(
            f"files of sweep {sweep} in {self.root} vanish as they are read; "
            "wait until nothing moves them"
        )

    def files(self, sweep: str) -> list[RowFile]:
        """Return the sweep's visible Parquet files, sorted by name; [] where it has none."""
        fs, path = locate(self.folder(sweep))
        fs.invalidate_cache()
        try:
            with reaching(self.folder(sweep)):
                entries = fs.ls(path, detail=True)
        except (FileNotFoundError, NotADirectoryError):
            return []
        found = []
        for entry in entries:
            name = entry["name"].rpartition("/")[2]
            file = RowFile(join(self.folder(sweep), name), _state(entry))
            if file.name.endswith(".parquet") and not file.name.startswith((".", "_")):
                found.append(file)
        return sorted(found, key=lambda file: file.name)

    def find(self, sweep: str, cell_id: str) -> Row | None:
        """Return the cell's row; None where it has none."""
        return Lookup(self, sweep).row(cell_id)

    def check_writable(self) -> None:
        """Write and remove a file, so that a place without write access or room fails early."""
        probe = join(self.table, ".tmp", "probe")
        write_whole(probe, bytes(PROBE))
        remove_all([probe])


class Lookup:
    """Tells whether cells of a sweep have a row, without reading rows of others.

    Lists the journal's and the visible files' names; of folded files it reads the `cell_id`s, once
    for each state of a file. Keep it for many questions.
    """

    def __init__(self, results: Results, sweep: str) -> None:
        self.results, self.sweep = results, sweep
        self.journal = results.journal(sweep)
        self.files: dict[RowFile, list[str]] = {}  # the `cell_id`s in each, as of the last refresh
        self._file_of: dict[str, RowFile] = {}

    def refresh(self) -> None:
        """Bring the known `cell_id`s up to date with the files that are there now."""
        fresh: dict[RowFile, list[str]] = {}
        for file in self.results.files(self.sweep):
            known = self.files.get(file)
            if known is None:
                table = _read_file(file, ["cell_id"])
                known = [] if table is None else table["cell_id"].to_pylist()
            fresh[file] = known
        if fresh.keys() == self.files.keys():
            return
        self.files = fresh
        self._file_of = {}
        for file in sorted(fresh, key=lambda file: (file.folded, file.name)):
            for cell_id in fresh[file]:
                self._file_of[cell_id] = file

    def file_of(self, cell_id: str) -> RowFile | None:
        """Return the file that holds the cell as of the last refresh, a folded one if any does."""
        return self._file_of.get(cell_id)

    def row(self, cell_id: str) -> Row | None:
        """Return the cell's row; None where it has none."""
        for _ in range(LOOKS):
            records = self.journal.read(self.journal.names(cell_id))
            rows = list(records.values())
            self.refresh()
            file = self.file_of(cell_id)
            table = None if file is None else _read_file(file, None)
            if file is not None and table is None:
                continue  # it was folded away at this moment
            if file is not None and table is not None:
                of_cell = table.filter(pc.equal(table["cell_id"], cell_id))
                rows += in_full([of_cell], file.path).to_pylist()
            return merged_by_cell(rows).get(cell_id)
        raise BadInput(f"files of sweep {self.sweep} in {self.results.root} vanish; try again")


def _read_file(file: RowFile, columns: list[str] | None) -> pa.Table | None:
    """Read one file; None where it was folded away since it was listed."""
    try:
        return read_parquet(file.path, columns)
    except FileNotFoundError:
        return None


def _state(entry: dict[str, object]) -> str:
    """Return what changes in a listing when a file is replaced, on a disk or an object store."""
    names = ("size", "mtime", "ino", "ETag", "etag", "LastModified", "created")
    return repr([entry.get(name) for name in names])


def _merged(table: pa.Table, loose: list[Row]) -> pa.Table:
    """Add rows from outside of folded files, so that each cell is there once."""
    ids = table["cell_id"]
    repeated = {row["cell_id"] for row in loose}
    if len(pc.unique(ids)) < len(ids):  # somebody has copied a file
        counts = pc.value_counts(ids).to_pylist()
        repeated |= {entry["values"] for entry in counts if entry["counts"] > 1}
    if not repeated:
        return table
    touched = pc.is_in(ids, value_set=pa.array(sorted(repeated), pa.string()))
    rows = merged_by_cell([*loose, *table.filter(touched).to_pylist()])
    added = table_of(rows.values())
    if len(table.column_names) < len(ROWS.names):  # only some columns were read
        added = added.select(table.column_names)
    kept = table.filter(pc.invert(touched))
    return pa.concat_tables([kept, added], promote_options="permissive")
