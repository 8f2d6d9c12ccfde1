"""Promotion refuses to choose among scores that do not compare, and code that is not allowed."""

import math
from pathlib import Path
from typing import Any

import pytest

from sweeps.choose.promote import promote, rows_of_sweep
from sweeps.report.page import write_report
from sweeps.rows.results import Results
from sweeps.spec.cells import Cell
from tests.sweeps import builders as make
from unlearn.artifacts import Store
from unlearn.errors import BadInput
from unlearn.gallery import Gallery
from unlearn.models import Weights, build
from unlearn.splits import Dataset

OWN = "tests.unlearn.models.own_models:plain"


def write(results: Results, sweep: str = "s", **spec: Any) -> None:
    scores: dict[str, Any] = {
        "val_forget_accuracy": 0.0,
        "val_retain_accuracy": 0.9,
    }
    for cell in make.cells(**spec):
        make.write(results, cell, sweep=sweep, **scores)


def test_cells_of_two_settings_are_not_one_choice(tmp_path: Path) -> None:
    results, gallery = Results(str(tmp_path)), Gallery(str(tmp_path / "gallery"))
    for steps in (10, 1000):
        write(results, models="cnn", method="fine-tune", train={"steps": steps})
    with pytest.raises(BadInput, match=r"2 settings.*steps 10; steps 1000.*--cell"):
        promote(results, "s", gallery, "unused")


def test_a_row_s_builder_runs_where_it_is_allowed_alone(tmp_path: Path) -> None:
    results, gallery = Results(str(tmp_path)), Gallery(str(tmp_path / "gallery"))
    write(results, models=OWN, method="fine-tune")
    with pytest.raises(BadInput, match=f"amnesia promote --builder {OWN}"):
        promote(results, "s", gallery, "unused")
    with pytest.raises(BadInput, match=f"amnesia report --builder {OWN}"):
        write_report(results, None, str(tmp_path / "report.html"), "unused")


def test_a_named_sweep_goes_before_one_called_like_the_model(tmp_path: Path) -> None:
    results = Results(str(tmp_path))
    for name in ("digits", "other"):
        write(results, name)
    assert set(rows_of_sweep(results, "digits", None)["sweep"]) == {"digits"}
    assert set(rows_of_sweep(results, "digits", "other")["sweep"]) == {"other"}
    with pytest.raises(BadInput, match="say which with --sweep: digits, other"):
        rows_of_sweep(results, "letters", None)


def save_all(store: Store, cell: Cell, weights: Weights) -> None:
    """Save the same weights as original, oracle and unlearned model."""
    problem = cell.problem
    store.save("original", problem.original.key, weights, {})
    store.save("oracle", problem.oracle.key, weights, {})
    store.save("unlearned", cell.cell_id, weights, {})


def test_an_infinite_score_goes_into_the_card_as_text(tmp_path: Path, digits: Dataset) -> None:
    """A generator after task arithmetic at -4: the forgotten images' bound is -inf."""
    results, store = make.results(tmp_path), make.store(tmp_path)
    cell = make.cell(models="cvae-2d", method="task-arithmetic", eval={"judges": 1})
    weights = build("cvae-2d", digits.shape, digits.classes).state_dict()
    save_all(store, cell, weights)
    scores: dict[str, Any] = {
        "forget_elbo": -math.inf,
        "retain_elbo": math.nan,
        "class_accuracy": [1.0, math.inf],
    }
    make.write(results, cell, store=store.root, threads=1, **scores)
    gallery = Gallery(str(tmp_path / "gallery"))

    promote(results, "m", gallery, "unused", cell=cell.cell_id)

    card = gallery.card("m")["scores"]
    assert card["forget_elbo"] == "-Infinity"
    assert "retain_elbo" not in card
    assert card["class_accuracy"] == [1.0, "Infinity"]


def test_a_random_part_is_promoted_and_the_card_names_it(tmp_path: Path, digits: Dataset) -> None:
    results, store = make.results(tmp_path), make.store(tmp_path)
    cell = make.cell(models="cnn", method="fine-tune", forget=[{"random": 0.1}])
    weights = build("cnn", digits.shape, digits.classes).state_dict()
    save_all(store, cell, weights)
    scores: dict[str, Any] = {"val_retain_accuracy": 0.9, "average_gap": 0.02}
    make.write(
        results, cell, store=store.root, threads=1, artifact_unlearned=cell.cell_id, **scores
    )
    gallery = Gallery(str(tmp_path / "gallery"))

    promote(results, "m", gallery, "unused", cell=cell.cell_id)

    card = gallery.card("m")
    assert (card["forget"], card["subset"]) == ([], "random 0.1")
    assert card["scores"]["average_gap"] == 0.02
