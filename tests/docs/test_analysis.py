"""The notebook docs/analysis.ipynb, run cell by cell on the rows of a real, tiny sweep."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from tests.docs.in_process import run_sweeps

NOTEBOOK = Path(__file__).parents[2] / "docs" / "analysis.ipynb"
SPECS = """
name: tiny-generator
models: [cvae-mlp]
method: selective-amnesia
forget: [[0]]
seeds: [0]
grid: {lam: [10, 1000]}
unlearn: {steps: 10}
train: {steps: 20, fisher_samples: 100, judge_steps: 10}
eval: {samples: 20, judges: 1}
---
name: tiny-classifier
models: [cnn]
method: [task-arithmetic, fine-tune]
forget: [[1]]
seeds: [0, 1]
grid: {alpha: [-2.0, -1.0], rho: [0.9]}
unlearn: {steps: 10}
train: {steps: 20, expert_steps: 5}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder: the tiny sweeps, computed in this process without Ray."""
    root = tmp_path_factory.mktemp("analysis")
    (root / "spec.yaml").write_text(SPECS)
    return run_sweeps(root / "spec.yaml", root)


def code_cells() -> list[str]:
    notebook = json.loads(NOTEBOOK.read_text())
    return ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]


def run(cells: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Run the cells one after another in one namespace, as a notebook does; return that."""
    monkeypatch.setenv("AMNESIA_RESULTS", str(folder))
    names: dict[str, Any] = {}
    for source in cells:
        exec(compile(source, str(NOTEBOOK), "exec"), names)
    return names


@pytest.fixture
def figures() -> Iterator[None]:
    """No window, and no figure left open."""
    plt.switch_backend("Agg")
    yield
    plt.close("all")


@pytest.mark.usefixtures("figures")
def test_the_notebook_draws_its_five_plots(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = run(code_cells(), folder, monkeypatch)

    rows = pd.read_parquet(folder / "v1")
    assert (rows["status"] == "ok").all()
    assert len(names["rows"]) == 2 + 2 * (2 + 1)
    titles = [axes.get_title() for number in plt.get_fignums() for axes in plt.figure(number).axes]
    for problem in ("mnist5k cnn", "mnist5k cvae-mlp"):
        assert titles.count(problem) == 3  # trade-off, original and oracle, cost
    assert "lam against forgetting and keeping" in titles
    assert "task-arithmetic: 4 cells" in titles


@pytest.mark.usefixtures("figures")
def test_the_notebook_chooses_by_validation_and_fronts_what_nothing_beats(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = run(code_cells(), folder, monkeypatch)

    chosen = names["chosen"]
    assert len(chosen) == 1 + 2 * 2  # one per problem, method and seed
    best = names["scored"].groupby(["problem", "method", "forgotten", "seed"])["selection"].max()
    np.testing.assert_allclose(np.sort(chosen["selection"]), np.sort(best))

    points = pd.DataFrame({"val_forget": [0.0, 0.1, 0.2, 0.0], "val_retain": [0.5, 0.7, 0.6, 0.4]})
    assert names["pareto_front"](points).index.tolist() == [0, 1]
    assert names["mean_and_half_width"](pd.Series([0.5])) == (0.5, 0.0)
    mean, half = names["mean_and_half_width"](pd.Series([0.4, 0.6]))
    assert mean == pytest.approx(0.5)
    assert half == pytest.approx(12.7062 * 0.1, rel=1e-4)  # t(.975, 1) x .1414 / sqrt 2


def test_the_notebook_is_committed_without_outputs() -> None:
    cells = json.loads(NOTEBOOK.read_text())["cells"]

    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in cells)
