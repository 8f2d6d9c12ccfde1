"""The main path on a small sweep, through the command line: run, look, choose, promote."""

import contextlib
import json
import re
from pathlib import Path

import httpx
import numpy as np
import pandas as pd
import psutil
import pytest
import torch

from cluster import ray_session
from cluster.demo import free_port
from cluster.main import entry
from sweeps.choose.choice_cost import regret
from sweeps.choose.choose import choose
from sweeps.rows.schema import ROWS
from tests.e2e.conftest import CLASSIFIER, Amnesia, no_ray
from tests.e2e.terminal import Terminal
from unlearn.artifacts import Store
from unlearn.evaluation import draw
from unlearn.gallery import Gallery
from unlearn.models import build

GRID = "grid: {alpha: [-0.5, -1.0, -4.0], rho: [0.0, 0.9]}"


def test_one_row_a_cell_with_every_column(swept: Path) -> None:
    rows = pd.read_parquet(swept / "results" / "v1")
    assert dict(rows["sweep"].value_counts()) == {"small-classifier": 5, "small-generator": 6}
    assert rows["cell_id"].is_unique
    assert set(rows["status"]) == {"ok"}
    assert set(ROWS.names) < set(rows.columns)
    for task, names in {
        "generator": [
            "forget_probability",
            "original_forget_probability",
            "oracle_retain_accuracy",
            "val_retain_accuracy",
            "forget_entropy",
            "retain_frechet",
            "judge_noise_floor",
            "lam",
            "unlearn_s",
        ],
        "classifier": [
            "test_forget_accuracy",
            "val_retain_accuracy",
            "oracle_test_forget_accuracy",
            "js_to_oracle",
            "mia_auc",
            "alpha",
            "rho",
            "artifact_expert",
        ],
    }.items():
        assert rows.loc[rows["task"] == task, names].notna().all(axis=None), task
    shares = rows.filter(regex="(accuracy|probability)$").select_dtypes("number").to_numpy()
    known = shares[~np.isnan(shares)]
    assert ((known >= 0) & (known <= 1)).all()
    assert (rows["oracle_js_to_oracle"].dropna().abs() < 1e-9).all()


def test_a_second_run_does_nothing_and_starts_no_ray(
    swept: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_session, "ray_session", no_ray)
    stamps = {path: path.stat().st_mtime_ns for path in (swept / "results").rglob("*.parquet")}
    places = ["--results", str(swept / "results"), "--store", str(swept / "store")]
    assert entry(["run", str(swept / "spec.yaml"), *places]) == 0
    assert "nothing to do" in capsys.readouterr().err
    assert stamps == {
        path: path.stat().st_mtime_ns for path in (swept / "results").rglob("*.parquet")
    }
    assert entry(["plan", str(swept / "spec.yaml"), *places]) == 0
    assert "0 to run, 11 done" in capsys.readouterr().out


def test_show_in_every_format(swept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = str(swept / "results")

    def shown(*arguments: str) -> str:
        assert entry(["show", results, *arguments]) == 0
        return capsys.readouterr().out

    assert len(shown("--sweep", "small-generator").splitlines()) == 7
    assert len(json.loads(shown("--where", "lam == 10", "--format", "json"))) == 2
    assert len(shown("--format", "csv").splitlines()) == 12
    assert "cells" in shown("--sweep", "small-generator", "--by", "lam")
    ranking = ("--sort", "val_retain_accuracy", "--descending")
    ranked = json.loads(shown("--sweep", "small-classifier", *ranking, "--format", "json"))
    values = [row["val_retain_accuracy"] for row in ranked]
    assert values == sorted(values, reverse=True)
    for bad in (["--by", "glory"], ["--sort", "glory"], ["--where", "lam >"], ["--sweep", "glory"]):
        assert entry(["show", results, *bad]) == 2


def test_promote_chooses_by_val_and_the_gallery_holds_three_models(
    swept: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results, gallery = str(swept / "results"), Gallery(str(swept / "gallery"))
    assert entry(["promote", results, "digits", "--gallery", gallery.root]) == 2
    assert "--sweep: small-classifier, small-generator" in capsys.readouterr().err
    moved = [
        "promote",
        results,
        "digits",
        "--sweep",
        "small-generator",
        "--gallery",
        gallery.root,
        "--store",
    ]
    assert entry([*moved, str(swept / "elsewhere")]) == 2
    assert str(swept / "elsewhere") in capsys.readouterr().err
    assert entry([*moved, str(swept / "store")]) == 0
    capsys.readouterr()
    assert (
        entry(
            ["promote", results, "digits", "--sweep", "small-generator", "--gallery", gallery.root]
        )
        == 0
    )
    assert "val_retain" in capsys.readouterr().out
    card = gallery.card("digits")
    rows = pd.read_parquet(swept / "results" / "v1").set_index("cell_id")
    row = rows.loc[card["provenance"]["cell_id"]]
    assert card["scores"]["forget_probability"] == row["forget_probability"]
    store, made = Store(str(swept / "store")), (card["provenance"]["cell_id"], "unlearned")
    artifacts = {kind: (row[f"artifact_{kind}"], kind) for kind in ("original", "oracle")} | {
        "amnesiac": made
    }
    for variant, (key, kind) in artifacts.items():
        ours, theirs = gallery.load("digits", card["version"], variant), store.load(kind, key)
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs), variant
    pictures = []
    for variant in ("amnesiac", "original", "oracle"):
        model = build(
            card["model"],
            tuple(card["shape"]),
            card["classes"],
            gallery.load("digits", card["version"], variant),
        )
        pictures.append(draw(model, card["forget"], 4, 0, "test"))
    assert not torch.equal(pictures[0], pictures[1])
    assert not torch.equal(pictures[1], pictures[2])
    other = rows[
        (rows["sweep"] == "small-generator") & (rows.index != card["provenance"]["cell_id"])
    ].index[0]
    assert (
        entry(
            [
                "promote",
                results,
                "digits",
                "--sweep",
                "small-generator",
                "--cell",
                other[:9],
                "--gallery",
                gallery.root,
            ]
        )
        == 0
    )
    assert gallery.card("digits")["provenance"]["cell_id"] == other
    assert entry(["rollback", "digits", "--gallery", gallery.root]) == 0
    assert gallery.current("digits") == card["version"]


def ray_workers(driver: int) -> list[tuple[str, int]]:
    """Name and priority of each worker process of a driver's own Ray."""
    found = []
    for child in psutil.Process(driver).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):  # it has ended; zombies count too
            name, priority = " ".join(child.cmdline()), child.nice()
            if name.startswith("ray::"):
                found.append((name, priority))
    return found


def test_a_server_answers_and_ends_at_sigterm(amnesia: Amnesia, swept: Path) -> None:
    """As a container is stopped: no trace, the signal's exit code."""
    gallery = str(swept / "stopped")
    promoted = ["promote", str(swept / "results"), "small-generator", "--gallery", gallery]
    assert entry(promoted) == 0
    port = free_port()
    server = amnesia("serve", "--gallery", gallery, "--port", str(port), cwd=swept)
    assert server.stdout is not None
    first = server.stdout.readline()
    assert first.startswith("serving "), first
    answer = httpx.get(f"http://127.0.0.1:{port}/healthz", timeout=60)
    assert answer.json() == {"status": "ok"}
    workers = ray_workers(server.pid)
    assert sum("Replica" in name for name, _ in workers) == 1  # it speaks HTTP, runs the models
    # a lower one than other processes' starves them (`tests/serve/test_busy.py`)
    assert {priority for _, priority in workers} == {psutil.Process().nice()}
    server.terminate()
    output, _ = server.communicate(timeout=180)
    assert server.returncode == 143, output
    assert output.strip().splitlines()[-1] == "amnesia: ended by SIGTERM"
    assert "Traceback" not in output


def test_a_closed_form_cell_is_promoted_from_its_recipe(swept: Path) -> None:
    """Task arithmetic stores no weights; made again they are those that were scored."""
    gallery = Gallery(str(swept / "gallery"))
    assert (
        entry(["promote", str(swept / "results"), "small-classifier", "--gallery", gallery.root])
        == 0
    )
    card = gallery.card("small-classifier")
    assert not (swept / "store" / "unlearned" / card["provenance"]["cell_id"]).exists()
    from unlearn.data import load

    splits = load("mnist5k", Path("unused")).split(card["forget"])
    model = build(
        "cnn", (1, 28, 28), 10, gallery.load("small-classifier", card["version"], "amnesiac")
    )
    with torch.no_grad():
        hits = (
            (model(splits.test.retain.pixels()).argmax(1) == splits.test.retain.y)
            .double()
            .mean()
            .item()
        )
    assert hits == pytest.approx(card["scores"]["test_retain_accuracy"], abs=1e-9)


@pytest.mark.usefixtures("quick_maps")
def test_candidates_on_val_then_one_in_full(
    terminal: Terminal, swept: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A grid read on val alone chooses what it chooses when every cell is scored in full."""
    spec = CLASSIFIER.replace(
        "search: {trials: 5, space: {alpha: [-3.0, 0.0], rho: [0.0, 0.99]}}", GRID
    )
    (swept / "race.yaml").write_text(
        spec.replace("small-classifier", "whole")
        + "---"
        + spec.replace("small-classifier", "raced")
        + "eval: {candidates: val}\n"
    )
    places = ["--results", "race", "--store", "store"]
    run = terminal.run("run", "race.yaml", *places, cwd=swept, timeout=600)
    assert run.code == 0, run.err
    rows = pd.read_parquet(swept / "race" / "v1")
    raced = rows[rows["sweep"] == "raced"]
    assert dict(raced["eval_candidates"].value_counts()) == {"val": 6, "full": 1}
    candidates, whole = raced[raced["eval_candidates"] == "val"], rows[rows["sweep"] == "whole"]
    assert candidates["test_retain_accuracy"].isna().all()
    stopped = candidates["val_stopped"].astype(bool)
    assert stopped.any()
    assert candidates["val_images"][stopped].max() < candidates["val_images"].max() == 500
    read, same = (
        candidates[~stopped].merge(whole, on=["alpha", "rho"]),
        ["val_forget_accuracy", "val_retain_accuracy"],
    )
    assert read[[f"{column}_x" for column in same]].to_numpy() == pytest.approx(
        read[[f"{column}_y" for column in same]].to_numpy()
    )
    chosen, confirmed = choose(whole).row, choose(raced).row
    knobs = [
        "alpha",
        "rho",
        "val_forget_accuracy",
        "val_retain_accuracy",
        "test_forget_accuracy",
        "js_to_oracle",
    ]
    assert chosen[knobs].tolist() == confirmed[knobs].tolist()
    assert confirmed["selection_regret"] == pytest.approx(regret(whole, chosen))
    assert confirmed["tuning_candidates"] == 6
    assert confirmed["tuning_s"] == pytest.approx(
        candidates[["unlearn_s", "evaluate_s"]].to_numpy().sum()
    )
    results, store = str(swept / "race"), str(swept / "store")
    assert entry(["run", str(swept / "race.yaml"), "--results", results, "--store", store]) == 0
    assert "nothing to do" in capsys.readouterr().err
    assert entry(["promote", results, "raced", "--gallery", str(swept / "raced-gallery")]) == 0
    one = candidates["cell_id"].iloc[0]
    assert (
        entry(
            ["promote", results, "raced", "--gallery", str(swept / "raced-gallery"), "--cell", one]
        )
        == 2
    )
    assert "read on val alone" in capsys.readouterr().err
    assert entry(["report", results, "--sweep", "raced", "-o", str(swept / "raced.html")]) == 0
    assert "6 candidates were read on val alone" in (swept / "raced.html").read_text()


@pytest.mark.usefixtures("quick_maps")
def test_report_is_one_page_with_its_pictures(swept: Path) -> None:
    out = swept / "report.html"
    assert entry(["report", str(swept / "results"), "-o", str(out)]) == 0
    page = out.read_text()
    assert "small-generator" in page
    assert "small-classifier" in page
    pictures = re.findall(r'<img alt="([^"]*)" src="data:image/png;base64,', page)
    assert sum("Same latents" in text for text in pictures) == 2
    assert sum("Chosen on val" in text for text in pictures) == 3
    assert "http://" not in page
    assert "https://" not in page


def test_compact_folds_and_pandas_sees_the_same(swept: Path) -> None:
    table = swept / "results" / "v1"
    before = pd.read_parquet(table).set_index("cell_id").sort_index()
    assert entry(["compact", str(swept / "results")]) == 0
    after = pd.read_parquet(table).set_index("cell_id").sort_index()
    pd.testing.assert_frame_equal(before, after, check_categorical=False, check_like=True)
    assert len(list(table.rglob("*.parquet"))) == 2


def test_a_failing_cell_is_a_row_and_can_be_tried_again(
    terminal: Terminal, swept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A learning rate that blows up: exit code 1, the cell is named and retried if asked."""
    spec = swept / "failing.yaml"
    spec.write_text(
        "name: failing\nmodels: [cnn]\nmethod: gradient-ascent\nforget: [[1]]\n"
        "grid: {lr: [1.0e-5, 1.0e+30]}\nunlearn: {steps: 5}\n"
        "train: {steps: 120, expert_steps: 20}\n"
    )

    def run(*more: str) -> str:
        ended = terminal.run("run", "failing.yaml", *more, cwd=swept, timeout=600)
        assert ended.code == 1, ended.err
        return ended.err

    assert "NotFinite" in run()
    rows = pd.read_parquet(swept / "results" / "v1").query("sweep == 'failing'").set_index("lr")
    assert dict(rows["status"]) == {1e-5: "ok", 1e30: "failed"}
    stamp = rows["created_at"]
    with monkeypatch.context() as patched:
        patched.setattr(ray_session, "ray_session", no_ray)
        places = ["--results", str(swept / "results"), "--store", str(swept / "store")]
        assert entry(["run", str(spec), *places]) == 1
    run("--retry-failed")
    again = (
        pd.read_parquet(swept / "results" / "v1")
        .query("sweep == 'failing'")
        .set_index("lr")["created_at"]
    )
    assert len(again) == 2
    assert again[1e-5] == stamp[1e-5]
    assert again[1e30] > stamp[1e30]
