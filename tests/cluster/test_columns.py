"""Original, unlearned and oracle stand in the columns that bear their names."""

import re

import pandas as pd
import pytest

from cluster.demo import table
from sweeps.promote import Promotion
from sweeps.report import comparison

ROW = pd.Series(
    {
        "task": "classifier",
        "forget": [1],
        "original_test_forget_accuracy": 0.1,
        "test_forget_accuracy": 0.2,
        "oracle_test_forget_accuracy": 0.3,
        "original_test_retain_accuracy": 0.4,
        "test_retain_accuracy": 0.5,
        "oracle_test_retain_accuracy": 0.6,
    }
)


def test_the_reports_comparison() -> None:
    page = comparison(ROW)
    assert re.findall(r"<th>(original|unlearned|oracle)</th>", page) == ["original", "unlearned", "oracle"]
    [line] = re.findall(r"<th>test_forget_accuracy</th>(.*?)</tr>", page, re.DOTALL)
    assert re.findall(r"<td>(.*?)</td>", line) == ["0.1000", "0.2000", "0.3000"]


def test_the_demos_table() -> None:
    columns = ["original", "amnesiac", "oracle"]
    shown = table([Promotion("digits", "v", ROW, "why")]).set_index("score")[columns]
    assert shown.loc["test_forget_accuracy"].tolist() == pytest.approx([0.1, 0.2, 0.3])
    assert shown.loc["test_retain_accuracy"].tolist() == pytest.approx([0.4, 0.5, 0.6])
