"""The cell that val chooses, its knobs, the reason, and the number of candidates."""

from typing import Any

import pandas as pd

from sweeps.choose.choose import unstopped
from sweeps.choose.comparable import varied_knobs
from sweeps.report.context import Context
from sweeps.report.elements import heading, paragraph
from sweeps.spec.cells import subset_of


def section(context: Context) -> str:
    row = context.row
    forget = subset_of(row) or ", ".join(map(str, row["forget"]))
    model = f"{row['model']}{context.setting}"
    title = f"{model}, forget {forget}, seed {row['seed']}: {row['method']}"
    cell = f"Cell {row['cell_id']}{_knobs(context)}"
    why = paragraph(f"{cell}: {context.choice.why}.", "why")
    return heading(3, title) + why + _candidates(context)


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
