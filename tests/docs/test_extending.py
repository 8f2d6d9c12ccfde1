"""docs/extending.md, followed to the letter in a copy of the packages; then a sweep of it all."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "extending.md").read_text()
PACKAGES = ("unlearn", "sweeps", "serve", "cluster")
GENERATOR = """
---
name: attacked
models: [cvae-mlp]
method: fine-tune
forget: [[0]]
unlearn: {steps: 5}
train: {steps: 10, judge_steps: 5}
eval: {samples: 20, judges: 1, attacks: [mean-label], attack_knobs: {mean-label: {trials: 50}}}
"""


def block_after(text: str) -> str:
    """The first code block after a text of the page."""
    rest = PAGE[PAGE.index(text) + len(text) :]
    found = re.search(r"```\w*\n(.*?)```", rest, re.DOTALL)
    assert found is not None
    return found[1]


def file_of_its_own(folder: Path, name: str) -> None:
    """Write the block that the page shows as the file `name`."""
    (folder / name).write_text(block_after(f"`{name}`"))


def registered(folder: Path, registry: str, file: str) -> None:
    """Add the page's import and line for `registry` to `file`."""
    block = block_after(f"in `{registry}`")
    lines = [line for line in block.splitlines() if line]
    imports = [line for line in lines if not line.startswith(" ")]
    entries = [line for line in lines if line.startswith(" ")]
    text = (folder / file).read_text()
    opening = re.search(rf"^{registry}\b.*?{{\n", text, re.MULTILINE)
    assert opening is not None
    text = text[: opening.end()] + "\n".join(entries) + "\n" + text[opening.end() :]
    first_import = text.index("\nfrom ") + 1
    (folder / file).write_text(
        text[:first_import] + "".join(line + "\n" for line in imports) + text[first_import:]
    )


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """The rows of the page's spec, and of a generator under the page's attack."""
    folder = tmp_path_factory.mktemp("extended")
    for package in PACKAGES:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / package, folder / package, ignore=ignored)
    file_of_its_own(folder, "unlearn/methods/mask_head.py")
    registered(folder, "METHODS", "unlearn/methods/__init__.py")
    file_of_its_own(folder, "unlearn/metrics/margin.py")
    registered(folder, "METRICS", "unlearn/metrics/__init__.py")
    file_of_its_own(folder, "unlearn/attacks/generators/mean_label.py")
    registered(folder, "ATTACKS", "unlearn/attacks/__init__.py")
    data = folder / "unlearn" / "data.py"
    function = block_after("in `unlearn/data.py`")
    data.write_text(data.read_text().replace("\nDATASETS", f"\n{function}\n\nDATASETS"))
    registered(folder, "DATASETS", "unlearn/data.py")
    file_of_its_own(folder, "my_models.py")
    (folder / "mine.yaml").write_text(block_after("`mine.yaml`") + GENERATOR)
    run = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("in_process.py")), "mine.yaml", "."],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return pd.read_parquet(folder / "results" / "v1").set_index("method")


def test_the_pages_method_hides_the_class_and_a_probe_finds_it(rows: pd.DataFrame) -> None:
    masked = rows.loc["mask-head"]

    assert masked["status"] == "ok"
    assert masked["shift"] == 10
    assert masked["test_forget_accuracy"] == 0
    assert masked["original_test_forget_accuracy"] > 0.8
    assert masked["probe_forget_accuracy"] == masked["original_probe_forget_accuracy"]


def test_the_pages_metric_has_its_three_columns(rows: pd.DataFrame) -> None:
    for name in ("forget_margin", "original_forget_margin", "oracle_forget_margin"):
        assert 0 <= rows.loc["mask-head"][name] <= 1


def test_the_pages_attack_runs_with_its_knobs(rows: pd.DataFrame) -> None:
    attacked = rows[rows["sweep"].astype(str) == "attacked"].iloc[0]

    assert pd.isna(attacked["error"])
    tries = attacked["probe_mean_label_rate"] * 50
    assert tries == pytest.approx(round(tries))
    assert attacked["oracle_probe_mean_label_rate"] >= 0


def test_the_pages_data_set_and_model_were_used(rows: pd.DataFrame) -> None:
    masked = rows.loc["mask-head"]

    assert masked["dataset"] == "digits8"
    assert masked["model"] == "my_models:perceptron"
    assert masked["options"] == '{"hidden": 128}'
