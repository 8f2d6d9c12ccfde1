"""scikit-learn's digits as a data set of one's own, through the whole engine without Ray."""

import pandas as pd
import pytest

from tests.docs.in_process import run_sweeps

LOADERS = "tests.unlearn.own_loaders"
SPEC = f"""
name: digits8
dataset: "{LOADERS}:digits8"
models: [cnn]
method: [fine-tune, retrain]
forget: [[3]]
train: {{steps: 300}}
unlearn: {{steps: 20}}
---
name: halves
dataset: "{LOADERS}:halves"
models: [cnn]
method: [fine-tune, retrain]
forget: [{{subclass: [1]}}, {{random: 0.1}}]
train: {{steps: 300}}
unlearn: {{steps: 20}}
eval: {{attacks: [linear-probe]}}
---
name: audited
dataset: "{LOADERS}:halves"
models: [cnn]
method: gradient-ascent
forget: [{{subclass: [1]}}, {{random: 0.1}}]
train: {{steps: 50}}
unlearn: {{steps: 5}}
eval:
  attacks: [u-lira, rmia]
  attack_knobs: {{u-lira: {{shadows: 4}}, rmia: {{shadows: 4}}}}
---
name: drawn8
dataset: "{LOADERS}:digits8"
models: [cvae-mlp]
method: selective-amnesia
forget: [[3]]
train: {{steps: 20, fisher_samples: 50, judge_steps: 5}}
unlearn: {{steps: 5}}
eval: {{samples: 20, judges: 1}}
"""


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    folder = tmp_path_factory.mktemp("own")
    (folder / "own.yaml").write_text(SPEC)
    run_sweeps(folder / "own.yaml", folder)
    return pd.read_parquet(folder / "results" / "v1")


def test_every_cell_of_them_is_computed(rows: pd.DataFrame) -> None:
    assert rows["status"].tolist() == ["ok"] * 9
    assert rows["dataset"].str.startswith(f"{LOADERS}:").all()


def test_a_class_of_them_is_forgotten(rows: pd.DataFrame) -> None:
    oracle = rows[(rows["sweep"] == "digits8") & (rows["method"] == "retrain")].iloc[0]
    assert oracle["original_test_forget_accuracy"] > 0.9
    assert oracle["test_forget_accuracy"] == 0
    assert oracle["test_retain_accuracy"] > 0.9


def test_a_fine_label_of_them_is_forgotten_within_its_class(rows: pd.DataFrame) -> None:
    """The oracle never saw a 1, and still takes some for the class of 0 to 4."""
    halves = rows[(rows["sweep"] == "halves") & (rows["method"] == "retrain")]
    oracle = halves[halves["subset"] == "subclass 1"].iloc[0]
    assert oracle["original_test_forget_accuracy"] > 0.9
    assert 0 < oracle["test_forget_accuracy"] < oracle["original_test_forget_accuracy"]
    assert oracle["test_retain_accuracy"] > 0.9
    assert oracle["tow"] == 1


def test_their_members_are_looked_for_by_shadows_that_unlearn(rows: pd.DataFrame) -> None:
    audited = rows[rows["sweep"] == "audited"]
    assert sorted(audited["subset"]) == ["random 0.1", "subclass 1"]
    assert audited["error"].isna().all()
    for column in ("u_lira_auc", "oracle_u_lira_auc", "rmia_auc", "original_rmia_auc"):
        assert audited[column].between(0, 1).all()
    assert (audited["u_lira_auc"] != audited["original_u_lira_auc"]).all()
