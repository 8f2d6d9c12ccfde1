"""The confusion matrices of the sweep's best cell, of its original and its oracle, on test."""

import numpy as np

from sweeps.report import figures
from sweeps.report.context import Context
from sweeps.report.elements import picture

COLUMNS = {
    "original": "original_test_confusion",
    "amnesiac": "test_confusion",
    "oracle": "oracle_test_confusion",
}


def section(context: Context) -> str:
    if not context.is_best:
        return ""
    row = context.row
    classes = round(len(row["test_confusion"]) ** 0.5)
    tables = {}
    for kind, column in COLUMNS.items():
        tables[kind] = np.asarray(row[column]).reshape(classes, classes)
    figure = figures.confusions(tables, row["forget"])
    return picture(figure, "Confusion on test; each row holds the shares of its class.")
