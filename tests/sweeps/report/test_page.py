"""The page: every problem's sections over models that are loaded once, and nothing unescaped."""

import math
import pkgutil
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from sweeps.choose.choose import Choice
from sweeps.report import sections
from sweeps.report.claims import claims
from sweeps.report.context import CellModels, Context, resolve
from sweeps.report.page import contexts, problem_part, sweep_part, write_report
from sweeps.report.sections import SECTIONS, attacks, choice, confusion
from sweeps.report.sections.morphs import routes
from sweeps.report.sections.scores import score_table
from sweeps.spec.cells import Cell
from tests.sweeps import builders as make
from unlearn.artifacts import Store
from unlearn.errors import BadInput
from unlearn.metrics import columns as metric_columns
from unlearn.models import Weights, build
from unlearn.splits import Dataset

ROOT = Path(__file__).parents[3]
EVIL = "<script>alert(1)</script>"
GENERATOR: dict[str, Any] = {
    "models": "cvae-2d",
    "method": "selective-amnesia",
    "grid": {"lam": [10, 100, 1000]},
    "eval": {"judges": 1},
}


def cells(**changes: Any) -> list[Cell]:
    """Three cells of one generator, with the spec's top-level keys changed."""
    return make.cells(**{**GENERATOR, **changes})


def scores(retain: float) -> dict[str, Any]:
    """Every score of a generator: `retain`, but 0 for the forgotten class on val."""
    found: dict[str, Any] = {
        "unlearn_s": 1.0,
        "evaluate_s": 2.0,
        "needs_s": 3.0,
        "oracle_s": 60.0,
    }
    for name, kind in metric_columns().items():
        length = 3 if name.startswith("judge_") else 10  # one value per judge, or per class
        found[name] = [retain] * length if kind is list else retain
    found |= {"judge_names": ["lead", "val", "plain-0"]}
    found |= {"val_forget_probability": 0.0, "val_forget_any_probability": 0.0}
    found |= {"curve_terms": ["loss"], "curve_step": [0.0, 1.0], "curve": [[2.0, 1.0]]}
    return found


def write(folder: Path, cells: list[Cell], status: str = "ok", **more: Any) -> pd.DataFrame:
    """Write a row per cell; the last is the best on val. Return the rows as they are read."""
    results = make.results(folder)
    for i, cell in enumerate(cells):
        outcome = scores(0.5 + 0.1 * i) | {"store": make.store(folder).root, "threads": 1}
        make.write(results, cell, status, **(outcome | more))
    return results.read("s")


def fill(store: Store, cell: Cell, digits: Dataset) -> Weights:
    """Save what the page needs to draw the cell; return the original's weights, at random.

    The oracle's are twice, the unlearned model's three times as large. Also saves a recording.
    """
    problem = cell.problem
    weights = build("cvae-2d", digits.shape, digits.classes).state_dict()
    keys = {"original": problem.original.key, "oracle": problem.oracle.key}
    keys["unlearned"] = cell.cell_id
    for size, (kind, key) in enumerate(keys.items(), 1):
        scaled = {name: value * size for name, value in weights.items()}
        store.save(kind, key, scaled, {})
    film = torch.zeros(2, 10, 4, 1, 28, 28, dtype=torch.uint8)
    pictures = {"film": film, "film_steps": torch.tensor([0, 7])}
    store.save("pictures", cell.cell_id, pictures, {})
    result: Weights = weights
    return result


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Counts how often each kind of artifact is loaded."""
    counted: Counter[str] = Counter()
    load = Store.load

    def counting(store: Store, kind: str, key: str) -> Any:
        counted[kind] += 1
        return load(store, kind, key)

    monkeypatch.setattr(Store, "load", counting)
    return counted


def test_a_generator_s_page_shows_every_section_and_loads_each_model_once(
    tmp_path: Path, digits: Dataset, loads: Counter[str]
) -> None:
    made, out = cells(), tmp_path / "report.html"
    write(tmp_path, made)
    fill(make.store(tmp_path), made[-1], digits)
    assert write_report(make.results(tmp_path), None, str(out), "unused") == str(out)
    page = out.read_text()
    chosen = made[-1].cell_id
    assert f'<a href="#row-{chosen}">Cell {chosen} (lam 1000)</a>: best val_retain' in page
    assert f'<tr id="row-{chosen}">' in page
    assert "No attack was run" in page
    assert f'<a href="#problem-{chosen}">cvae-2d, forget 1, seed 0: selective-amnesia</a>' in page
    # Test scores are retain - 1.5 forget: -.25, -.30, -.35; val chooses the last.
    assert "cost 0.1000 of the score on test" in page
    assert "in all, with the artifacts" in page
    assert "12.0 s. Retraining took 60.0 s: 80% saved." in page  # 3 + 3 x (1 + 2)
    captions = re.findall("<figcaption>(.*?)</figcaption>", page)
    starts = [
        "Same latents",
        "Images drawn while unlearning, from step 0 to step 7",
        "Chosen on val",
        "Label 7 to 1 (forgotten)",
        "Label 3 to 9 (kept)",
        "Images under label 1 over the latent plane",
        "Images under label 1 between four latents",
        "Latents of test images, as they are",
        "How far the encoder moved",
        "Accuracy of every class",
        "Loss terms",
    ]
    pairs = zip(captions, starts, strict=True)
    assert all(caption.startswith(start) for caption, start in pairs), captions
    assert loads == {"original": 1, "oracle": 1, "unlearned": 1, "pictures": 1}


def test_each_model_bears_its_own_name(tmp_path: Path, digits: Dataset) -> None:
    [cell] = cells(grid={})
    rows = write(tmp_path, [cell])
    original = fill(make.store(tmp_path), cell, digits)
    models = CellModels(rows.iloc[0], "unused").by_kind
    assert list(models) == ["original", "amnesiac", "oracle"]
    for model, size in zip(models.values(), (1, 3, 2), strict=True):
        for name, value in model.state_dict().items():
            assert torch.equal(value, original[name] * size)


def test_a_problem_that_needs_no_model_reads_no_store(tmp_path: Path, loads: Counter[str]) -> None:
    [context] = contexts(write(tmp_path, cells()), "unused")
    assert len(context.finished) == 3
    assert not loads


def test_a_store_without_the_models_is_refused(tmp_path: Path) -> None:
    write(tmp_path, cells(), store=str(tmp_path / "nowhere"))
    with pytest.raises(BadInput, match="nowhere"):
        write_report(make.results(tmp_path), None, str(tmp_path / "report.html"), "unused")
    assert not (tmp_path / "report.html").exists()


def test_one_problem_holds_the_sweep_s_best_cell(tmp_path: Path) -> None:
    made = cells(forget=[[1], [2]])
    rows = write(tmp_path, made)
    found = {tuple(each.row["forget"]): each for each in contexts(rows, "unused")}
    assert found.keys() == {(1,), (2,)}
    assert [found[label].is_best for label in ((1,), (2,))] == [False, True]
    assert found[(1,)].row["cell_id"] == made[2].cell_id
    assert found[(2,)].row["cell_id"] == made[5].cell_id


def test_a_problem_whose_cells_all_failed_has_its_errors_alone(tmp_path: Path) -> None:
    rows = write(tmp_path, cells(), status="failed", error=EVIL)
    page = sweep_part("s", rows, "unused")
    assert "3 cells, 3 failed; data set mnist5k." in page
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;") == 3
    assert "<script" not in page
    assert "<h3>Errors</h3>" in page


def test_a_choice_that_is_not_confirmed_says_so(tmp_path: Path) -> None:
    candidates = {"models": "cnn", "method": "fine-tune", "grid": {}, "eval": {"candidates": "val"}}
    [context] = contexts(write(tmp_path, cells(**candidates)), "unused")
    assert not context.confirmed
    assert "the choice is not confirmed yet" in problem_part(context)


def test_all_rows_shows_what_a_candidate_was_read_by(tmp_path: Path) -> None:
    candidates = {"models": "cnn", "method": "fine-tune", "grid": {}, "eval": {"candidates": "val"}}
    scores: dict[str, Any] = {
        "val_forget_accuracy": 0.125,
        "val_retain_accuracy": 0.875,
        "val_images": 40,
    }
    results = make.results(tmp_path)
    make.write(results, make.cell(**{**GENERATOR, **candidates}), **scores)

    page = sweep_part("s", results.read("s"), "unused")

    _, _, all_rows = page.partition("All rows")
    for shown in ("val_forget_accuracy", "val_retain_accuracy", "val_images", "0.125", "0.875"):
        assert shown in all_rows
    assert "NaN" not in all_rows


def test_infinite_scores_stand_in_the_tables(tmp_path: Path) -> None:
    infinite: dict[str, Any] = {"forget_elbo": -math.inf, "original_forget_elbo": math.inf}
    rows = write(tmp_path, cells(seeds=[0, 1]), **infinite)

    for tables in (claims(rows), score_table(rows.iloc[0])):
        assert "<td>-inf</td>" in tables
        assert "<td>inf</td>" in tables


def test_confusion_is_shown_of_the_best_cell_alone(tmp_path: Path) -> None:
    row = write(tmp_path, cells(grid={})).iloc[0]
    for column in ("original_test_confusion", "test_confusion", "oracle_test_confusion"):
        row[column] = [0.9, 0.1, 0.2, 0.8]
    shown = []
    for is_best in (True, False):
        chosen, models = Choice(row, "why"), CellModels(row, "unused")
        context = Context(pd.DataFrame(), "", chosen, is_best, models)
        shown.append(confusion.section(context))
    assert shown[0].count("<img") == 1
    assert shown[1] == ""


def evil_context(tmp_path: Path) -> Context:
    rows = write(tmp_path, cells()).assign(model=EVIL, dataset=EVIL, cell_id=EVIL)
    rows["lam"] = [EVIL + str(i) for i in range(3)]
    return resolve(rows, EVIL, "none", "unused")


def test_what_stands_in_a_row_is_escaped(tmp_path: Path) -> None:
    context = evil_context(tmp_path)
    head = choice.section(context)
    assert head.count("&lt;script&gt;") == 6  # model, setting, cell_id and its two anchors, lam
    assert "<script" not in head
    assert "<script" not in sweep_part(EVIL, context.rows.assign(status="failed"), "unused")


def test_every_section_has_its_place() -> None:
    """A file of `sections/` that no list names would never show."""
    files = {module.name for module in pkgutil.iter_modules(sections.__path__)}
    listed = {each.__module__.rpartition(".")[2] for of in SECTIONS.values() for each in of}
    assert listed == files


def test_terminal_tables_need_no_matplotlib() -> None:
    """`amnesia show` is quick: matplotlib takes a second to import."""
    hide = "import sys; sys.modules['matplotlib'] = None"
    code = f"{hide}; import sweeps.report.show, sweeps.report.claims"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False)
    assert run.returncode == 0


@pytest.mark.parametrize(
    ("forget", "classes", "expected"),
    [
        ((0,), 10, [(7, 0), (3, 9)]),
        ((7,), 10, [(0, 7), (3, 9)]),
        ((3,), 10, [(7, 3), (0, 9)]),
        ((0, 1), 3, [(2, 0)]),
    ],
)
def test_morphs_take_the_labels_that_are_kept(
    forget: tuple[int, ...], classes: int, expected: list[tuple[int, int]]
) -> None:
    assert routes(forget, classes) == expected


def test_a_choice_at_an_end_of_its_range_is_marked(tmp_path: Path) -> None:
    [context] = contexts(write(tmp_path, cells()), "unused")
    assert "At an end" not in choice.section(context)
    context.row["bound"] = np.array(["lam high", "gamma low"], dtype=object)
    assert "searched range: lam at its high end, gamma at its low end." in choice.section(context)
    context.row["bound"] = np.array([], dtype=object)
    assert "At an end" not in choice.section(context)


def test_a_classifier_s_attacks_are_listed_by_model(tmp_path: Path) -> None:
    spec = {"models": "cnn", "method": "fine-tune", "grid": {}, "eval": {"attacks": ["relearning"]}}
    found: dict[str, Any] = {
        "relearn_steps": [0.0, 2.0],
        "relearn_batches_points": 12.0,
        "ain_points": 0.75,
    }
    [context] = contexts(write(tmp_path, cells(**spec), **found), "unused")
    page = attacks.section(context)
    [line] = re.findall(r"<th>relearning: relearn_batches_points</th>(.*?)</tr>", page, re.DOTALL)
    assert re.findall("<td>(.*?)</td>", line) == ["not reached", "12", "not reached"]
    [index] = re.findall(r"<th>relearning: ain_points</th>(.*?)</tr>", page, re.DOTALL)
    assert re.findall("<td>(.*?)</td>", index) == ["", "0.75", ""]
