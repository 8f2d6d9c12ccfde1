"""All cells as points (forget, retain), with their Pareto front and the chosen cell."""

from sweeps.choose.choose import unstopped
from sweeps.report import figures
from sweeps.report.context import Context
from sweeps.report.elements import picture


def section(context: Context) -> str:
    """Return "" where there are fewer than three cells."""
    if len(context.finished) <= 2:
        return ""
    figure = figures.pareto_front(unstopped(context.finished), context.row["cell_id"])
    return picture(figure, "Chosen on val; the diamond is its score on test.")
