"""The status record of a run, and the progress that it and the rows tell, from any machine.

    <results>/v1/.runs/<sweep>.json

A run writes one record per sweep when it starts; everything else is read from the rows.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

import pandas as pd

from sweeps.rows.results import Results
from unlearn.files import exists, join, names_in, read_whole, write_whole

NEWEST = 200  # rows over which the rate is measured
READ = ("status", "error", "wall_s", "created_at")  # columns that progress reads


@dataclass(frozen=True)
class RunRecord:
    """What a run knows when it starts.

    sweep: its name
    planned: cells that it will compute
    done: planned cells that have a row already
    slots: trials at once
    started_at: seconds since 1970
    space: method -> knob -> the searched axis ([low, high] or names); empty for a grid
    grid: knob -> its values
    """

    sweep: str
    planned: int
    done: int
    slots: int
    started_at: float
    space: Mapping[str, Mapping[str, list[Any]]] = field(default_factory=dict)
    grid: Mapping[str, list[Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Progress:
    """How far a sweep is.

    sweep: its name
    done, failed: cells with a row that holds scores, or none
    left: planned cells without a row of the last run; None where no run left a record
    rate: finished cells per second; None before the first
    eta_s: seconds until none is left; None where it is unknown
    running_s: seconds since the last run started; None where no run left a record
    last_s: seconds since the last row was written; None where there is none
    """

    sweep: str
    done: int
    failed: int
    left: int | None
    rate: float | None
    eta_s: float | None
    running_s: float | None
    last_s: float | None


def _place(results: Results, sweep: str) -> str:
    return join(results.table, ".runs", f"{sweep}.json")


def write_record(results: Results, record: RunRecord) -> None:
    """Write or replace the record of the sweep's last run."""
    text = json.dumps(asdict(record), indent=1)
    write_whole(_place(results, record.sweep), text.encode(), join(results.table, ".tmp"))


def read_record(results: Results, sweep: str) -> RunRecord | None:
    """Return the record of the sweep's last run; None where there is none, or it is damaged."""
    place = _place(results, sweep)
    if not exists(place):
        return None
    try:
        return RunRecord(**json.loads(read_whole(place)))
    except (ValueError, TypeError, FileNotFoundError):
        return None


def recorded(results: Results) -> list[str]:
    """Return the sweeps that have rows or a record, sorted: a run may have no row yet."""
    found = set(results.sweeps())
    for name in names_in(join(results.table, ".runs")):
        if name.endswith(".json") and not name.startswith("."):
            found.add(name.removesuffix(".json"))
    return sorted(found)


def progress(results: Results, sweep: str, now: float | None = None) -> Progress:
    """Return the progress of one sweep, from its rows and the record of its last run.

    now: seconds since 1970; None for the clock's. Raises `BadInput` for an unknown sweep.
    """
    record = read_record(results, sweep)
    there = record is None or sweep in results.sweeps()
    rows = results.read(sweep, READ) if there else pd.DataFrame(columns=list(READ))
    return progress_of(sweep, rows, record, now or datetime.now(UTC).timestamp())


def progress_of(sweep: str, rows: pd.DataFrame, record: RunRecord | None, now: float) -> Progress:
    """Return the progress that rows (oldest first) and the last run's record tell.

    The rate is that of the newest rows of the last run, by the clock of this machine.
    """
    failed = int((rows["status"] == "failed").sum())
    written = [stamp.timestamp() for stamp in rows["created_at"]]
    last_s = max(0.0, now - written[-1]) if written else None
    if record is None:
        return Progress(sweep, len(rows) - failed, failed, None, None, None, None, last_s)
    fresh = [at for at in written if at >= record.started_at]
    left = max(0, record.planned - len(fresh))
    rate = eta_s = None
    if fresh:
        seconds = rows["wall_s"].fillna(0.0).tolist()[len(written) - len(fresh) :]
        newest = list(zip(fresh, seconds, strict=True))[-NEWEST:]
        begun = min(at - wall_s for at, wall_s in newest)
        until = now if left else fresh[-1]
        rate = len(newest) / max(until - max(begun, record.started_at), 1e-3)
        eta_s = left / rate
    running_s = max(0.0, now - record.started_at)
    return Progress(sweep, len(rows) - failed, failed, left, rate, eta_s, running_s, last_s)
