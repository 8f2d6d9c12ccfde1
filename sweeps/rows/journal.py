"""The journal: rows that no folded file holds yet, one small hidden file each.

    <results>/v1/.journal/sweep=<name>/<cell_id>.<12 hex digits>.json.gz

A record is written whole and never changed; a second row of the same cell is a second record. What
is relied on: a new file or object is there as a whole or not at all, and a listing made afterwards
shows it. Local disks, NFS and object stores all give that.
"""

import gzip
import json
import uuid
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sweeps.rows.schema import ROWS, Row
from sweeps.spec.recipes import SCHEMA
from unlearn.errors import BadInput
from unlearn.files import join, names_in, read_whole, remove_all, write_whole

FOLDER, SUFFIX = ".journal", ".json.gz"
READERS = 16  # files read at a time: an object store answers many requests in parallel
WHEN = "created_at"  # the one column that JSON has no type for


@dataclass(frozen=True)
class Journal:
    """The journal of one sweep.

    root: the results folder or URL
    sweep: by name
    """

    root: str
    sweep: str

    @property
    def folder(self) -> str:
        return join(self.root, SCHEMA, FOLDER, f"sweep={self.sweep}")

    def write(self, row: Row) -> str:
        """Write a row durably, and return the name of its record."""
        name = f"{row['cell_id']}.{uuid.uuid4().hex[:12]}{SUFFIX}"
        drafts = join(self.root, SCHEMA, ".tmp")
        write_whole(join(self.folder, name), encode(row), drafts)
        return name

    def names(self, cell_id: str = "") -> list[str]:
        """Return the names of all records, or of one cell's, sorted."""
        start = f"{cell_id}." if cell_id else ""
        found = names_in(self.folder)
        return [name for name in found if name.startswith(start) and name.endswith(SUFFIX)]

    def read(self, names: Iterable[str]) -> dict[str, Row]:
        """Return the rows of records by name; one that was folded meanwhile is left out."""
        wanted = list(names)
        with ThreadPoolExecutor(READERS) as pool:
            rows = list(pool.map(self._read, wanted))
        found = {}
        for name, row in zip(wanted, rows, strict=True):
            if row is not None:
                found[name] = row
        return found

    def _read(self, name: str) -> Row | None:
        path = join(self.folder, name)
        try:
            return decode(read_whole(path), path)
        except FileNotFoundError:
            return None

    def remove(self, names: Iterable[str]) -> None:
        """Remove records whose rows are in a folded file."""
        remove_all(join(self.folder, name) for name in names)


def journals(root: str) -> list[str]:
    """Return the names of the sweeps that have a journal."""
    prefix = "sweep="
    names = names_in(join(root, SCHEMA, FOLDER))
    return [name.removeprefix(prefix) for name in names if name.startswith(prefix)]


def encode(row: Row) -> bytes:
    """Return a record: the columns that are not null, as JSON that keeps every digit."""
    known = {name: value for name, value in row.items() if value is not None}
    known[WHEN] = row[WHEN].isoformat()
    text = json.dumps(known, default=_plain)
    return gzip.compress(text.encode(), mtime=0)


def _plain(value: Any) -> Any:
    """Return a NumPy scalar or array as plain numbers."""
    return value.tolist()


def decode(record: bytes, path: str) -> Row:
    """Return the row of a record. Raises `BadInput` for a record that is damaged."""
    try:
        known: Row = json.loads(gzip.decompress(record))
        known[WHEN] = datetime.fromisoformat(known[WHEN])
    except (OSError, EOFError, ValueError, KeyError) as error:
        raise BadInput(f"{path} is damaged ({error}); remove it, its cell runs again") from error
    return dict.fromkeys(ROWS.names) | known
