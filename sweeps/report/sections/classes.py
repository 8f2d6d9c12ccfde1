"""The accuracy of the three models on every class."""

from sweeps.report import figures
from sweeps.report.context import Context
from sweeps.report.elements import picture


def section(context: Context) -> str:
    return picture(figures.by_class(context.row), "Accuracy of every class, on test.")
