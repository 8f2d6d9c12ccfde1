"""The scores of original, unlearned model and oracle, side by side."""

import pandas as pd

from sweeps.choose.summary import NULL_WHERE_NOT_REACHED
from sweeps.report.claims import MORE_SCORES, SCORES
from sweeps.report.context import Context
from sweeps.report.elements import heading, paragraph, table
from sweeps.report.figures import KINDS

COUNTS = ("relearn_batches_points", "relearn_batches_relative")  # ends of counts of mini-batches


def section(context: Context) -> str:
    seed = context.row["seed"]
    note = f"Seed {seed} alone: no interval. The tables of methods have intervals over seeds."
    return heading(4, "Scores") + paragraph(note, "quiet") + score_table(context.row)


def score_table(row: pd.Series) -> str:
    """Return a table with one line per score that any of the three models has."""
    names = SCORES[row["task"]] + MORE_SCORES[row["task"]]
    columns = {}
    for prefix, kind, _ in KINDS:
        columns[kind] = {name: _score(row, prefix, name) for name in names}
    scores = pd.DataFrame(columns)
    known = (scores != "").any(axis=1)
    return table(scores[known], index=True)


def _score(row: pd.Series, prefix: str, name: str) -> str:
    """Return the value as text; "" where the row has none."""
    value = row.get(prefix + name)
    if pd.notna(value):
        return f"{value:g}" if name.endswith(COUNTS) else f"{value:.4f}"
    tried = row.get(NULL_WHERE_NOT_REACHED.get(name, ""))
    return "not reached" if tried is not None and prefix + name in row else ""
