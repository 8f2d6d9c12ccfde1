"""Tables show original, unlearned and oracle in the columns with their names."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from cluster.demo import table
from sweeps.choose.promote import Promotion
from sweeps.report.context import stored_pictures
from sweeps.report.sections.attacks import attack_images, attack_table
from sweeps.report.sections.scores import score_table
from unlearn.artifacts import Store
from unlearn.attacks import attack_columns

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
    page = score_table(ROW)
    assert re.findall(r"<th>(original|unlearned|oracle)</th>", page) == [
        "original",
        "unlearned",
        "oracle",
    ]
    [line] = re.findall(r"<th>test_forget_accuracy</th>(.*?)</tr>", page, re.DOTALL)
    assert re.findall(r"<td>(.*?)</td>", line) == ["0.1000", "0.2000", "0.3000"]


def test_a_probe_that_broke_takes_no_other_off_the_page(tmp_path: Path) -> None:
    Store(str(tmp_path)).save(
        "pictures", "c", {"label-only": torch.zeros(1, 8, 1, 28, 28, dtype=torch.uint8)}, {}
    )
    known = {name: 0.5 if "_label_only_" in name else np.nan for name in attack_columns()}
    row = pd.Series(
        {
            "cell_id": "c",
            "store": str(tmp_path),
            "eval_attacks": ["random-z", "label-only"],
            **known,
        }
    )
    page = attack_table(row)
    assert re.findall(r"<th>(random-z|label-only)</th>", page) == ["label-only"]
    assert "0.50 [0.50, 0.50]" in page
    assert "nan" not in page
    images = attack_images(row["eval_attacks"], stored_pictures(row))
    assert images.count("<img") == 1


def test_the_demos_table() -> None:
    shown = table([Promotion("digits", "v", ROW, "why")]).set_index("score")[
        ["original", "amnesiac", "oracle"]
    ]
    assert list(shown.loc["test_forget_accuracy"]) == pytest.approx([0.1, 0.2, 0.3])
    assert list(shown.loc["test_retain_accuracy"]) == pytest.approx([0.4, 0.5, 0.6])
