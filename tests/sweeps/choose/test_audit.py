"""The audit that promotion writes: what attacks got out of each model, from the row alone."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from sweeps.choose.audit import audit, documents, png, tries_behind
from sweeps.choose.promote import promote
from sweeps.rows.results import Results
from sweeps.spec.cells import Cell
from tests.sweeps import builders as make
from unlearn.artifacts import Store
from unlearn.attacks.generators.intervals import wilson
from unlearn.digests import sha256
from unlearn.gallery import Gallery
from unlearn.models import build

GENERATOR = {
    "models": "cvae-2d",
    "method": "selective-amnesia",
    "grid": {},
    "eval": {"judges": 1, "attacks": ["random-z", "noisy-label"], "effort": 0.5},
}
LOW, HIGH = wilson(3, 20)
RATES: dict[str, Any] = {
    "probe_random_z_rate": 3 / 20,
    "probe_random_z_rate_low": LOW,
    "probe_random_z_rate_high": HIGH,
    "probe_random_z_excess": 0.15,
    "probe_random_z_excess_low": 0.01,
    "probe_random_z_excess_high": 0.36,
    "original_probe_random_z_rate": 1.0,
    "oracle_probe_random_z_rate": 0.0,
    "untrained_probe_random_z_rate": 0.1,
    "error": "no noisy-label: it broke",
    "judge_test_accuracy": [0.98, 0.97, 0.99],
    "val_forget_probability": 0.0,
    "val_retain_accuracy": 0.9,
}


def drawn(level: int) -> torch.Tensor:
    """2 x 3 images of 4 x 5 pixels of one grey."""
    return torch.full((2, 3, 1, 4, 5), level, dtype=torch.uint8)


def attacked(folder: Path, **more: Any) -> tuple[pd.Series, Cell]:
    """The row of a cell that two attacks met, of which one broke; its pictures lie in the store."""
    results, store, cell = make.results(folder), make.store(folder), make.cell(**GENERATOR)
    make.write(results, cell, store=store.root, threads=1, **RATES, **more)
    images = {"random-z": drawn(10), "original:random-z": drawn(20), "oracle:random-z": drawn(30)}
    store.save("pictures", cell.cell_id, images, {})
    return results.read("s").iloc[0], cell


ENDS = [(0, 1), (0, 64), (3, 20), (10, 20), (64, 64), (2.5, 8)]


@pytest.mark.parametrize(("hits", "tries"), ENDS)
def test_the_tries_follow_from_the_interval(hits: float, tries: float) -> None:
    assert tries_behind(hits / tries, *wilson(hits, tries)) == pytest.approx(tries)


def test_every_model_has_its_rate_and_interval(tmp_path: Path) -> None:
    record = audit(*attacked(tmp_path)).record
    first, broken = record["attacks"]
    assert (first["name"], first["recovered"]) == ("random-z", True)
    models = first["models"]
    assert list(models) == ["amnesiac", "original", "oracle", "untrained"]
    ends = {name: (found["low"], found["high"]) for name, found in models.items()}
    assert ends["amnesiac"] == pytest.approx((LOW, HIGH))
    assert ends["original"] == pytest.approx(wilson(20, 20))
    assert ends["oracle"] == pytest.approx(wilson(0, 20))
    assert {found["tries"] for found in models.values()} == {20.0}
    excess = {"excess": 0.15, "excess_low": 0.01, "excess_high": 0.36}
    assert first["comparison"] == {**excess, "beyond_low": None}  # without a second oracle
    assert first["about"]
    assert (broken["name"], broken["models"], broken["recovered"]) == ("noisy-label", {}, None)
    assert record["error"] == "no noisy-label: it broke"


def test_a_class_is_recovered_where_the_rate_is_above_both_oracles(tmp_path: Path) -> None:
    first, _ = audit(*attacked(tmp_path, probe_random_z_beyond_low=-0.02)).record["attacks"]
    assert (first["comparison"]["beyond_low"], first["recovered"]) == (-0.02, False)


def test_it_names_the_judge_the_seed_and_the_effort(tmp_path: Path) -> None:
    row, cell = attacked(tmp_path)
    record = audit(row, cell).record
    assert record["judge"]["key"] == cell.problem.judges["lead"].key
    assert record["judge"]["test_accuracy"] == 0.98
    assert (record["seed"], record["effort"], record["forget"]) == (0, 0.5, [1])
    assert record["knobs"]["lam"] == make.knobs(cell)["lam"]


def test_each_model_has_its_picture(tmp_path: Path) -> None:
    made = audit(*attacked(tmp_path))
    models = ("amnesiac", "original", "oracle")
    names = {model: f"random-z.{model}.png" for model in models}
    assert made.record["attacks"][0]["pictures"] == names
    levels = []
    for name in names.values():
        pixels = np.asarray(Image.open(io.BytesIO(made.pictures[name])))
        assert pixels.shape == (3 * (2 * 5 - 1), 3 * (3 * 6 - 1))  # gaps of 1, enlarged by 3
        levels.append(int(pixels[0, 0]))
    assert levels == [10, 20, 30]


def test_colours_keep_their_channels() -> None:
    images = torch.tensor([255, 0, 7], dtype=torch.uint8).view(1, 1, 3, 1, 1)
    assert np.asarray(Image.open(io.BytesIO(png(images))))[0, 0].tolist() == [255, 0, 7]


def test_a_classifier_s_attack_has_no_rate(tmp_path: Path) -> None:
    cell = make.cell(eval={"attacks": ["relearning"]})
    curve: dict[str, Any] = {
        "relearn_steps": [0.0, 2.0],
        "relearn_batches_points": 2.0,
        "ain_points": 0.75,
    }
    make.write(make.results(tmp_path), cell, store=make.store(tmp_path).root, **curve)
    record = audit(make.results(tmp_path).read("s").iloc[0], cell).record
    [attack] = record["attacks"]
    assert attack["models"]["amnesiac"]["relearn_batches_points"] == 2.0
    assert attack["models"]["amnesiac"]["relearn_steps"] == [0.0, 2.0]
    assert attack["comparison"] == {"ain_points": 0.75, "ain_relative": None}
    assert (attack["recovered"], record["judge"]) == (None, None)


def test_a_cell_without_attacks_has_an_empty_audit(tmp_path: Path) -> None:
    cell = make.cell()
    make.write(make.results(tmp_path), cell, store=make.store(tmp_path).root)
    made = audit(make.results(tmp_path).read("s").iloc[0], cell)
    assert (made.record["attacks"], made.pictures) == ([], {})


def test_documents_hold_the_whole_row(tmp_path: Path) -> None:
    row, cell = attacked(tmp_path, wall_s=float("inf"))
    kept = documents(row, cell)
    found = json.loads(kept["row.json"])
    assert found["cell_id"] == cell.cell_id
    assert found["probe_random_z_rate"] == 0.15
    assert found["wall_s"] == "Infinity"
    assert "rho" not in found  # null
    assert kept == documents(row, cell)


def test_promotion_copies_row_and_audit_and_signs_them(tmp_path: Path) -> None:
    row, cell = attacked(tmp_path, git_revision="abc")
    store, gallery = Store(row["store"]), Gallery(str(tmp_path / "gallery"))
    weights = build("cvae-2d", (1, 28, 28), 10).state_dict()
    problem = cell.problem
    for kind, key in (("original", problem.original.key), ("oracle", problem.oracle.key)):
        store.save(kind, key, weights, {})
    store.save("unlearned", cell.cell_id, weights, {})
    rows = Results(str(tmp_path / "results"))
    made = promote(rows, "digits", gallery, "unused", cell=cell.cell_id)
    card = gallery.card("digits")
    assert set(card["documents"]) >= {"row.json", "audit.json", "random-z.oracle.png"}
    for name, expected in card["documents"].items():
        assert sha256(gallery.document("digits", made.version, name)) == expected
    assert json.loads(gallery.document("digits", made.version, "audit.json"))["attacks"]
    assert promote(rows, "digits", gallery, "unused", cell=cell.cell_id).version == made.version
