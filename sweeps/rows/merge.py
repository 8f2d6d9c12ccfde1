"""Decide which row a cell keeps when it was written twice: by a retry, or by two runs at once."""

from collections.abc import Iterable

from sweeps.rows.schema import Row

AGAIN = "; tried again: "


def merged(before: Row, after: Row) -> Row:
    """Return the row to keep of two rows of one cell.

    A good row stays as it is. Scores are never replaced by a failure: a row that has scores and an
    error keeps its scores, and the error of the failed retry is appended to its own. Otherwise the
    better row wins (good, then scores with an error, then failed), and among equals the later one.
    Merging the same row again changes nothing.
    """
    if _rank(before) == GOOD:
        return before
    if after["status"] != "ok" and before["status"] == "ok":
        first, _, _ = before["error"].partition(AGAIN)
        return before | {"error": first + AGAIN + after["error"]}
    if _rank(after) != _rank(before):
        return max(before, after, key=_rank)
    return after if after["created_at"] > before["created_at"] else before


GOOD = (True, True)


def _rank(row: Row) -> tuple[bool, bool]:
    """Return (has scores, has no error)."""
    return row["status"] == "ok", row.get("error") is None


def merged_by_cell(rows: Iterable[Row]) -> dict[str, Row]:
    """Return one row for each `cell_id`, merged in the order in which the rows were written."""
    found: dict[str, Row] = {}
    for row in sorted(rows, key=lambda row: row["created_at"]):
        cell_id = row["cell_id"]
        found[cell_id] = merged(found[cell_id], row) if cell_id in found else row
    return found
