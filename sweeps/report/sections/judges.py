"""The scores that each judge gives the generator, next to its floors on noise and grey images."""

import pandas as pd

from sweeps.report.context import Context
from sweeps.report.elements import heading, paragraph, table

COLUMNS = [
    "judge_test_accuracy",
    "judge_forget_probability",
    "judge_forget_accuracy",
    "judge_forget_entropy",
    "judge_noise_floor",
    "judge_grey_floor",
]


def section(context: Context) -> str:
    row = context.row
    judges = list(row["judge_names"])
    scores = pd.DataFrame({name: row[name] for name in COLUMNS}, index=judges)
    explained = paragraph(
        "By judge; the lead judge can reject an image. Values below a judge's floor on noise or "
        "grey images say nothing about forgetting."
    )
    return heading(4, "Judges") + explained + table(scores, digits=".3f", index=True)
