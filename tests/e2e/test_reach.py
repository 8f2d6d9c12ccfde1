"""What a spec can ask for beyond a grid: attacks, experts, classes in turn, one's own model."""

import os
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml
from safetensors.torch import save_file

from cluster.main import entry
from sweeps.report.claims import claims
from sweeps.spec.files import read_documents
from tests.e2e.conftest import Amnesia
from tests.e2e.terminal import Terminal
from unlearn.data import load
from unlearn.models import build
from unlearn.streams import seeded, stream
from unlearn.train import Training, fit

TRAIN = "train: {steps: 100, fisher_samples: 300, judge_steps: 60, expert_steps: 10, experts: 2}"
SPEC = f"""
name: attacked
models: [cvae-mlp]
method: [selective-amnesia, robust-amnesia]
forget: [[1]]
unlearn: {{steps: 30}}
{TRAIN}
eval: {{samples: 30, judges: 1, attacks: [random-z, label-only, relearn-10], effort: 0.02}}
---
name: in-turn
models: [cvae-mlp]
method: sequential-amnesia
forget: [[1], [1, 2]]
grid: {{recompute: [true, false]}}
unlearn: {{steps: 20, fisher_of: 300}}
{TRAIN}
eval: {{samples: 30, judges: 1}}
---
name: ones-own
models: ["elsewhere:digits"]
method: [task-arithmetic, scrub]
forget: [[3]]
weights: elsewhere.safetensors
options: {{width: 24}}
{TRAIN}
eval: {{attacks: [relearning], attack_knobs: {{relearning: {{steps: 20, reset_head: true}}}}}}
"""
MODEL = """
from torch import nn


def digits(width, classes):
    body = [nn.Flatten(), nn.Linear(784, width), nn.ReLU(), nn.Linear(width, classes)]
    return nn.Sequential(*body)
"""


@pytest.mark.usefixtures("quick_maps")
def test_everything_a_spec_can_ask_for(
    terminal: Terminal, modules: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "spec.yaml").write_text(SPEC)
    (modules / "elsewhere.py").write_text(MODEL)
    monkeypatch.syspath_prepend(str(modules))
    original = trained_elsewhere(tmp_path / "elsewhere.safetensors")
    run = terminal.run("run", "spec.yaml", cwd=tmp_path)
    assert run.code == 0, run.err
    rows = pd.read_parquet(tmp_path / "results" / "v1")
    assert dict(rows["sweep"].value_counts()) == {"in-turn": 4, "attacked": 2, "ones-own": 2}

    attacked = rows[rows["sweep"] == "attacked"]
    for probe in ("random_z", "label_only", "relearn_10"):
        own = attacked[
            [f"probe_{probe}_rate", f"probe_{probe}_rate_low", f"probe_{probe}_rate_high"]
        ]
        assert own.apply(
            lambda rate: 0 <= rate.iloc[1] <= rate.iloc[0] <= rate.iloc[2] <= 1, axis=1
        ).all()
        assert attacked[f"oracle_probe_{probe}_rate"].nunique() == 1  # one oracle for both methods
    assert attacked["probe_latent_label_rate"].isna().all()  # not asked for

    own = rows[rows["sweep"] == "ones-own"]
    assert own["original_test_retain_accuracy"].tolist() == [original] * 2
    assert [steps[-1] for steps in own["relearn_steps"]] == [20] * 2

    out = tmp_path / "report.html"
    report = ["report", str(tmp_path / "results"), "-o", str(out)]
    assert entry(report) == 2  # whose code may run is said by who runs it
    assert entry([*report, "--builder", "elsewhere:digits"]) == 0
    page = out.read_text()
    for words in (
        "brought a forgotten class back",
        "data:image/gif",
        "Label 7 to 1 (forgotten)",
        "t-SNE",
        "Relearning the",
    ):
        assert words in page, words


SMALL = ["seeds=[0]", "forget=[[1]]", "train.steps=60", "train.expert_steps=10", "train.experts=2"]
SPECS = {  # shipped spec -> how it is made smaller still
    "ta-digits": [*SMALL, "search.trials=3", "eval.attacks=[linear-probe]"],
    "baselines-digits": [*SMALL, "unlearn.steps=40", "unlearn.batch=16", "unlearn.samples=80"],
}


@pytest.mark.cluster
def test_the_digits_specs_from_end_to_end(amnesia: Amnesia, tmp_path: Path) -> None:
    """On a Ray of their own, which has all cores."""
    documents = [
        document for name, changes in SPECS.items() for document in read_documents(name, changes)
    ]
    (tmp_path / "digits.yaml").write_text(yaml.safe_dump_all(documents))
    run = amnesia("run", "digits.yaml", cwd=tmp_path)
    output, _ = run.communicate(timeout=900)
    assert run.returncode == 0, output
    rows = pd.read_parquet(tmp_path / "results" / "v1")
    assert set(rows["status"]) == {"ok"}
    counts = rows.groupby(["sweep", "eval_candidates"], observed=True).size()
    assert counts.to_dict() == {
        ("baselines-digits", "full"): 12,
        **{
            (sweep, kind): n
            for sweep in ("sign-consensus-digits", "ta-digits")
            for kind, n in (("val", 3), ("full", 1))
        },
    }
    whole = rows[rows["eval_candidates"] == "full"]
    assert whole["method"].nunique() == 14
    for column in ("test_retain_accuracy", "average_gap", "oracle_js_to_oracle", "oracle_s"):
        assert whole[column].notna().all()
    searched = whole[whole["method"].isin(["task-arithmetic", "sign-consensus"])]
    assert len(searched) == whole["tuning_s"].notna().sum() == 2
    assert (searched["selection_regret"] >= 0).all()
    assert searched["probe_forget_accuracy"].between(0, 1).all()
    if len(os.sched_getaffinity(0)) > 1:
        ends = rows["created_at"].sort_values()
        starts = (rows["created_at"] - pd.to_timedelta(rows["wall_s"], unit="s"))[ends.index]
        assert (starts.iloc[1:].array < ends.iloc[:-1].array).sum() > len(
            rows
        ) / 4  # two workers, not one
    page = claims(rows)
    for words in (
        "Methods on mnist5k",
        "What fools these metrics",
        "average_gap",
        "<b>linear-probe</b>",
    ):
        assert words in page, words


def trained_elsewhere(path: Path) -> float:
    """Save a network of foreign naming; return its accuracy on the test digits that are kept."""
    data = load("mnist5k", Path("unused"))
    with seeded(0, "elsewhere"):
        model = build("elsewhere:digits", data.shape, data.classes, options={"width": 24})
    model.load_state_dict(
        fit(model, data.train, Training(150, 64, 3e-3), stream(0, "elsewhere"))[0]
    )
    layers = {
        "net.1": "1",
        "head": "3",
    }  # where amnesia holds them -> where their own network has them
    save_file(
        {
            layers[name.rpartition(".")[0]] + name[name.rindex(".") :]: t
            for name, t in model.state_dict().items()
        },
        path,
    )
    kept = data.split([3]).test.retain
    with torch.no_grad():
        right = model(kept.pixels()).argmax(1) == kept.y
    return float(right.double().mean())
