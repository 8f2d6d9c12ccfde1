"""The cell that val chooses, its knobs, the reason, the bounds it lies on, the candidates."""

from typing import Any

import numpy as np
import pandas as pd

from sweeps.choose.choose import unstopped
from sweeps.choose.comparable import varied_knobs
from sweeps.report.context import Context
from sweeps.report.elements import Html, anchor_of, escape, heading, link, paragraph
from sweeps.spec.cells import subset_of


def section(context: Context) -> str:
    row = context.row
    forget = subset_of(row) or ", ".join(map(str, row["forget"]))
    model = f"{row['model']}{context.setting}"
    title = f"{model}, forget {forget}, seed {row['seed']}: {row['method']}"
    cell = link(anchor_of(row["cell_id"]), f"Cell {row['cell_id']}{_knobs(context)}")
    why = paragraph(Html(f"{cell}: {escape(context.choice.why)}."), "why")
    start = heading(3, title, f"problem-{row['cell_id']}")
    return start + why + _bounds(row) + _candidates(context)


def _bounds(row: pd.Series) -> str:
    """Name the knobs whose chosen value was recorded to lie at an end of its range; "" for none."""
    bound: Any = row.get("bound")
    entries = [] if np.ndim(bound) == 0 else [_at_end(str(entry)) for entry in bound]
    if not entries:
        return ""
    return paragraph(
        f"At an end of the searched range: {', '.join(entries)}. A better value may lie beyond; "
        "widen the range and run again.",
        "warning",
    )


def _at_end(entry: str) -> str:
    """Write an entry of `bound`, as `lam high`, in words."""
    knob, _, end = entry.rpartition(" ")
    return f"{knob} at its {end} end"


def _knobs(context: Context) -> str:
    """Return the chosen values of the knobs that vary, in brackets; "" where none varies."""
    values = []
    for name in varied_knobs(context.finished):
        value = context.row[name]
        if pd.notna(value):
            values.append(f"{name} {_text(value)}")
    return f" ({', '.join(values)})" if values else ""


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _candidates(context: Context) -> str:
    """Say how many candidates were read on val alone, and how many in part; "" without any."""
    candidates = context.candidates
    if candidates.empty:
        return ""
    stopped = len(candidates) - len(unstopped(candidates))
    return paragraph(
        f"{len(candidates)} candidates were read on val alone. {stopped} of them were read only "
        "until they could no longer win: these are missing from the points below, and are crosses "
        "on the map."
    )
