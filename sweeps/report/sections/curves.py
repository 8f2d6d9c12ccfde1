"""The loss terms of the chosen cell while it unlearned."""

from sweeps.report import figures
from sweeps.report.context import Context
from sweeps.report.elements import picture


def section(context: Context) -> str:
    """Return "" for a method without training steps."""
    row = context.row
    if row["curve_terms"] is None:
        return ""
    return picture(figures.curves(row), "Loss terms while unlearning.")
