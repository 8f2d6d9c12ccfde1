"""Which cell val chooses, with which knobs, and why; what was read to choose it."""

from typing import Any

import pandas as pd

from sweeps.choose.choose import unstopped
from sweeps.choose.comparable import varied_knobs
from sweeps.report.context import Context
from sweeps.report.elements import heading, paragraph


def section(context: Context) -> str:
    row = context.row
    forget = ", ".join(map(str, row["forget"]))
    model = f"{row['model']}{context.setting}"
    title = f"{model}, forget {forget}, seed {row['seed']}: {row['method']}"
    cell = f"Cell {row['cell_id']}{_knobs(context)}"
    why = paragraph(f"{cell}: {context.choice.why}.", "why")
    return heading(3, title) + why + _candidates(context)


def _knobs(context: Context) -> str:
    """The chosen values of the knobs that were tried, in brackets; "" where none was."""
    row = context.row
    names = [name for name in varied_knobs(context.finished) if pd.notna(row[name])]
    values = ", ".join(f"{name} {_text(row[name])}" for name in names)
    return f" ({values})" if values else ""


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _candidates(context: Context) -> str:
    """How many cells were read on val alone, and how many of them in part; "" where none was."""
    candidates = context.candidates
    if candidates.empty:
        return ""
    stopped = len(candidates) - len(unstopped(candidates))
    return paragraph(
        f"{len(candidates)} candidates were read on val alone. {stopped} of them were read only "
        "until they could no longer win: these are missing from the points below, and are crosses "
        "on the map."
    )
