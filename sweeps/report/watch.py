"""Watch a sweep: its progress, and the best cell by val of every problem so far."""

import json
import math
import sys
import time
from dataclasses import asdict, dataclass
from typing import TextIO

import pandas as pd

from sweeps.choose.choose import READ as CHOOSING
from sweeps.choose.choose import choose, finished, objectives
from sweeps.choose.comparable import SETTINGS, differing_settings, forget_texts
from sweeps.plan.describe import duration
from sweeps.rows.results import Results
from sweeps.rows.runs import Progress, progress, recorded
from sweeps.spec.cells import subset_of
from unlearn.errors import BadInput

REFRESH_S = 5.0  # seconds between two looks: rows are at most that old
SHOWN = 20  # problems in the table of a terminal
HOME, CLEAR = "\033[H", "\033[J"  # to the upper left; erase what is below
COLUMNS = tuple(dict.fromkeys(("task", "dataset", *CHOOSING, *SETTINGS)))


@dataclass(frozen=True)
class Best:
    """The best cell by val of one problem, so far.

    model: with the settings in which it differs from others of its name
    forget: the classes
    cells: finished cells that it was chosen from
    subset: what is forgotten where it is no whole class; else ""
    """

    model: str
    forget: list[int]
    seed: int
    method: str
    cell_id: str
    val_forget: float
    val_retain: float
    cells: int
    subset: str = ""


@dataclass(frozen=True)
class View:
    """What is seen of one sweep at one moment."""

    progress: Progress
    best: tuple[Best, ...]


def look(results: Results, sweep: str | None = None) -> list[View]:
    """Return what there is to see of one sweep, or of all; raise `BadInput` where there is none."""
    known = recorded(results)
    if sweep is not None and sweep not in known:
        raise BadInput(f"no sweep {sweep!r} in {results.root}; known: {', '.join(known) or 'none'}")
    if not known:
        raise BadInput(f"no run and no rows in {results.root}; give the --results of a run")
    with_rows = set(results.sweeps())
    views = []
    for name in known if sweep is None else [sweep]:
        best = best_by_val(results.read(name, COLUMNS)) if name in with_rows else ()
        views.append(View(progress(results, name), best))
    return views


def best_by_val(rows: pd.DataFrame) -> tuple[Best, ...]:
    """Return the best cell by val of every model, forget set and seed that has a finished cell."""
    good = rows[rows["status"] == "ok"]
    if good.empty:
        return ()
    models = good["model"] + differing_settings(good)
    named = good.assign(_model=models, _forget=forget_texts(good))
    found = []
    for _, cells in named.groupby(["_model", "_forget", "seed"]):
        candidates = finished(cells)
        if candidates.empty:
            continue
        row = choose(cells).row
        value = objectives(row.to_frame().T).iloc[0]
        scores = (float(value["val_forget"]), float(value["val_retain"]))
        who = (str(row["method"]), str(row["cell_id"]))
        labels = [int(label) for label in row["forget"]]
        problem = (str(row["_model"]), labels, int(row["seed"]))
        found.append(Best(*problem, *who, *scores, len(candidates), subset_of(row)))
    return tuple(found)


def as_json(views: list[View]) -> str:
    """Return the views as one JSON document: a list of sweeps."""
    return json.dumps([{**asdict(view.progress), "best": _best(view)} for view in views], indent=1)


def _best(view: View) -> list[dict[str, object]]:
    """Return the best cells as JSON has them, without a nan."""
    records = []
    for best in view.best:
        record = asdict(best)
        for name, value in record.items():
            if isinstance(value, float) and not math.isfinite(value):
                record[name] = None
        records.append(record)
    return records


def as_text(views: list[View]) -> str:
    """Return the views as text for a terminal."""
    return "\n\n".join(map(_text, views))


def _text(view: View) -> str:
    lines = [progress_line(view.progress)]
    if view.best:
        lines.append("best by val so far:")
        table = pd.DataFrame([asdict(best) for best in view.best[:SHOWN]])
        if not table["subset"].any():
            table = table.drop(columns="subset")
        lines.append(table.to_string(index=False, float_format="{:.4f}".format))
        more = len(view.best) - SHOWN
        if more > 0:
            lines.append(f"... and {more} more (--json lists all)")
    return "\n".join(lines)


def progress_line(seen: Progress) -> str:
    """Return the counts of one sweep, its rate and the time to go, in one line."""
    counts = f"{seen.sweep}: {seen.done} done, {seen.failed} failed"
    if seen.left is None:
        return f"{counts} (no run left a record of what is left)"
    parts = [counts, f"{seen.left} left"]
    if seen.rate is not None:
        parts.append(f"{seen.rate * 60:.3g} cells a minute")
    if seen.left and seen.eta_s is not None:
        parts.append(f"about {duration(seen.eta_s)} to go")
    if seen.left and seen.last_s is not None:
        parts.append(f"last row {duration(seen.last_s)} ago")
    return ", ".join(parts)


def watch(results: Results, sweep: str | None, out: TextIO = sys.stdout) -> None:
    """Show the progress: in place until nothing is left on a terminal, once elsewhere."""
    if not out.isatty():
        print(as_text(look(results, sweep)), file=out)
        return
    print(HOME + CLEAR, end="", file=out)
    while True:
        views = look(results, sweep)
        print(f"{HOME}{as_text(views)}{CLEAR}", file=out, flush=True)
        if not any(view.progress.left for view in views):
            return
        time.sleep(REFRESH_S)
