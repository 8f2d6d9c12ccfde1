"""Fold the journal into few large Parquet files; each step leaves every row where it is found.

A fold replaces whole files under their own names, so pandas sees each row once, before and after.
The last file grows to `FILE_ROWS` rows, then the next one begins. A record leaves the journal only
when the disk holds the file with its row; a fold that dies in between is repeated by the next one.
"""

import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterable

import pyarrow as pa
import pyarrow.compute as pc

from sweeps.rows.merge import merged, merged_by_cell
from sweeps.rows.results import Lookup, Results
from sweeps.rows.right import right_to_fold
from sweeps.rows.schema import Row
from sweeps.rows.tables import (
    as_parquet,
    in_full,
    is_of_today,
    read_parquet,
    schema_of,
    table_of,
)
from unlearn.errors import require
from unlearn.files import join, locate, names_in, reaching, remove_all, write_whole

PATIENCE_S = 5.0  # for a fold of another process; it takes about half a second
FILE_ROWS = 5000  # rows of a full file; a fold rewrites at most so many, in about half a second


class Folder:
    """Folds one sweep's journal, again and again; at most one process does so at a time.

    results, sweep: whose rows
    on_fold: called with the rows of each fold, which stand in files by then
    """

    def __init__(
        self, results: Results, sweep: str, on_fold: Callable[[list[Row]], None] | None = None
    ) -> None:
        self.results, self.sweep, self.on_fold = results, sweep, on_fold
        self.journal = results.journal(sweep)
        self.lookup = Lookup(results, sweep)
        self.right = right_to_fold(self.journal.folder)

    def fold(self, repair: bool = False) -> frozenset[str] | None:
        """Fold what the journal holds now; return the `cell_id`s of its records.

        Returns None while another process has the right to fold.

        repair: also fold one-row files of earlier versions, give files of earlier versions all
            columns (pandas takes them from the first file), drop rows that a copied file doubles

        Raises `BadInput` for a file that holds no rows of ours, `CannotWrite` for a full disk.
        """
        if not repair and not self.journal.names():
            return frozenset()
        if not self.right.acquire():
            return None
        try:
            return self._fold(repair)
        finally:
            self.right.release()

    def close(self) -> None:
        """Let other processes fold at once."""
        self.right.resign()

    def _fold(self, repair: bool) -> frozenset[str]:
        records = self.journal.read(self.journal.names())
        names, rows = list(records), list(records.values())
        self.lookup.refresh()
        loose = [file.path for file in self.lookup.files if not file.folded]
        if repair:
            loose += self._old_files()
        for path in loose:
            for row in in_full([read_parquet(path)], path).to_pylist():
                names.append(self.journal.write(row))  # hidden and durable before the file goes
                rows.append(row)
        tables = self._tables(merged_by_cell(rows))
        if repair:
            self._repair(tables)
        remove_all(loose)
        for path, table in tables.items():
            write_whole(path, as_parquet(table), join(self.results.table, ".tmp"))
        self.journal.remove(names)
        if repair:
            self._remove_old_folder()
        if self.on_fold is not None and rows:
            self.on_fold(rows)
        return frozenset(row["cell_id"] for row in rows)

    def _tables(self, rows: dict[str, Row]) -> dict[str, pa.Table]:
        """Return the new content of each file that changes, by path."""
        known: dict[str, list[Row]] = defaultdict(list)
        new: list[Row] = []
        for cell_id, row in rows.items():
            file = self.lookup.file_of(cell_id)
            if file is None or not file.folded:
                new.append(row)
            else:
                known[file.path].append(row)
        tables: dict[str, pa.Table] = {}
        for path, again in known.items():
            replaced = _replaced(read_parquet(path), again)
            if replaced is not None:
                tables[path] = replaced
        for path, start, stop in self._room(len(new)):
            before = tables.get(path)
            if before is None and self._exists(path):
                before = read_parquet(path)
            parts = [table_of(new[start:stop])]
            if before is not None:
                parts.insert(0, before)
            tables[path] = in_full(parts, path)
        return tables

    def _room(self, rows: int) -> Iterable[tuple[str, int, int]]:
        """Yield (path, start, stop) of slices of new rows: for the last file, then for new ones."""
        number, filled = 0, 0
        for file, ids in self.lookup.files.items():
            found = re.fullmatch(r"rows-(\d{5})\.parquet", file.name)
            if found and int(found[1]) >= number:
                number, filled = int(found[1]), len(ids)
        start = 0
        while start < rows:
            if filled >= FILE_ROWS:
                number, filled = number + 1, 0
            stop = min(rows, start + FILE_ROWS - filled)
            path = join(self.results.folder(self.sweep), f"rows-{number:05d}.parquet")
            yield path, start, stop
            start, filled = stop, FILE_ROWS

    def _exists(self, path: str) -> bool:
        name = path.rpartition("/")[2]
        return any(file.name == name for file in self.lookup.files)

    def _repair(self, tables: dict[str, pa.Table]) -> None:
        """Add to `tables` the files that lack columns, or hold a cell of an earlier file again."""
        seen: set[str] = set()
        for file, ids in self.lookup.files.items():
            if not file.folded:
                continue
            double = len(seen.union(ids)) < len(seen) + len(ids)
            if double or not is_of_today(schema_of(file.path)):
                table = tables.get(file.path, read_parquet(file.path))
                tables[file.path] = _without(in_full([table], file.path), seen)
            seen.update(ids)

    def _old_folder(self) -> str:
        """The hidden folder that a killed `compact` of an earlier version leaves behind."""
        return join(self.results.table, f".sweep={self.sweep}")

    def _old_files(self) -> list[str]:
        names = names_in(self._old_folder())
        return [join(self._old_folder(), name) for name in names if name.endswith(".parquet")]

    def _remove_old_folder(self) -> None:
        fs, path = locate(self._old_folder())
        with reaching(self._old_folder()):
            if fs.isdir(path):
                fs.rm(path, recursive=True)


def _replaced(table: pa.Table, rows: list[Row]) -> pa.Table | None:
    """Return the table with rows of known cells merged in; None where that changes nothing."""
    wanted = pa.array([row["cell_id"] for row in rows], pa.string())
    touched = pc.is_in(table["cell_id"], value_set=wanted)
    before = {row["cell_id"]: row for row in table.filter(touched).to_pylist()}
    kept = [merged(before[row["cell_id"]], row) for row in rows]
    if all(row == before[row["cell_id"]] for row in kept):
        return None
    return in_full([table.filter(pc.invert(touched)), table_of(kept)], "a folded file")


def _without(table: pa.Table, seen: set[str]) -> pa.Table:
    """Return the table without cells that are in `seen`, and each of the others once."""
    ids = table["cell_id"].to_pylist()
    known = set(seen)
    keep = []
    for cell_id in ids:
        keep.append(cell_id not in known)
        known.add(cell_id)
    return table.filter(pa.array(keep))


def compact(results: Results) -> dict[str, int]:
    """Fold and repair every sweep; return sweep -> number of rows.

    A run does this by itself: before it plans, every few seconds, and at its end.
    Raises `BadInput` for a sweep that another process folds all the time.
    """
    counts = {}
    for sweep in results.sweeps():
        require(
            fold_now(results, sweep),
            f"another process folds sweep {sweep} in {results.root}, probably a run; "
            "compact when it has ended",
        )
        counts[sweep] = len(results.read_table(sweep, ["cell_id"]))
    return counts


def fold_now(results: Results, sweep: str) -> bool:
    """Fold and repair one sweep; False where another process had the right for `PATIENCE_S`."""
    folder = Folder(results, sweep)
    ends = time.monotonic() + PATIENCE_S
    try:
        while folder.fold(repair=True) is None:
            if time.monotonic() > ends:
                return False
            time.sleep(0.1)
        return True
    finally:
        folder.close()
