"""A map of the val scores over the two knobs of task arithmetic."""

from sweeps.report import figures
from sweeps.report.context import Context
from sweeps.report.elements import picture

X, Y = "alpha", "rho"


def section(context: Context) -> str:
    """Return "" for fewer than three cells, or where one of the knobs does not vary."""
    rows = context.finished
    if len(rows) <= 2 or rows[X].nunique() < 2 or rows[Y].nunique() < 2:
        return ""
    figure = figures.knob_map(rows, X, Y, context.row["cell_id"])
    return picture(figure, "Every cell over its two knobs, on val.")
