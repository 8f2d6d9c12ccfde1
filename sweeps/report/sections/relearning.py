"""The accuracy of the three models while they learn the forgotten class again."""

from sweeps.report import figures
from sweeps.report.context import Context
from sweeps.report.elements import picture


def section(context: Context) -> str:
    """Return "" where the spec did not ask for this attack."""
    row = context.row
    if row["relearn_steps"] is None:
        return ""
    return picture(figures.relearning(row), "Relearning the forgotten class, in mini-batches.")
