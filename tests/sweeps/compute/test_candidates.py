"""Candidates: read on val as far as needed, the best so far, what choosing on val costs."""

import math
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from sweeps.compute.candidates import BestSoFar, compute_candidate, selection_regret, val_scores
from sweeps.spec.recipes import Recipe
from tests.sweeps import builders as make
from unlearn.early_stop import ValAccuracies
from unlearn.methods import METHODS, Unlearned
from unlearn.methods.task_arithmetic import TaskArithmetic
from unlearn.splits import Images, Split, Splits


@pytest.mark.parametrize(
    ("method", "needs"), [("retrain", 100.0), ("task-arithmetic", 3.0), ("fine-tune", 0.0)]
)
def test_retraining_saves_nothing_over_retraining(
    method: str, needs: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The artifacts that a method gets count, even an oracle; an oracle for comparison does not."""
    monkeypatch.setattr(METHODS[method], "__call__", lambda *_, **__: Unlearned({}))
    monkeypatch.setattr(TaskArithmetic, "write_candidate", lambda *_: None)
    reader = SimpleNamespace(run=lambda *_: ValAccuracies(0.0, 1.0, 500, False))
    seconds = {"oracle": 100.0, "expert": 3.0}
    cache: Any = SimpleNamespace(
        device="cpu",
        lending=nullcontext,
        needs=lambda cell: {},
        keep=lambda *_: reader,
        splits=lambda *_: None,
        model=lambda recipe: None,
        writer=lambda *_: None,
        build=lambda *_: None,
        seconds=lambda recipe: seconds[recipe.kind],
    )
    row = compute_candidate(cache, make.cell(method=method), best=0.0).columns
    assert (row["oracle_s"], row["needs_s"]) == (100.0, needs)


def steps_as_weights(self: Any, *_: Any, **__: Any) -> Unlearned:
    """A stand-in for unlearning: the unlearned model holds the method's steps."""
    return Unlearned({"steps": torch.tensor(self.steps)})


class Readers(SimpleNamespace):
    """A cache whose reader of val knows the (forget, retain) of each model, named by its steps."""

    device = "cpu"
    lending = nullcontext

    def keep(self, make: Any, dataset: str, forget: tuple[int, ...]) -> Any:
        def read(model: int, weight: float, bar: float) -> ValAccuracies:
            self.read += 1
            forget_share, retain_share = self.val[model]
            stopped = retain_share - weight * forget_share < bar
            return ValAccuracies(forget_share, retain_share, 500, stopped)

        return SimpleNamespace(run=read)

    def build(self, recipe: Recipe, weights: Any) -> int:
        return int(weights["steps"])


@pytest.fixture
def readers(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Three candidates of fine-tuning, whose models are their steps."""
    monkeypatch.setattr(METHODS["fine-tune"], "__call__", steps_as_weights)
    return Readers(
        read=0,
        val={5: (0.0, 0.9), 6: (0.0, 0.8), 7: (0.4, 0.9)},
        needs=lambda cell: {},
        splits=lambda *_: None,
        model=lambda recipe: None,
        seconds=lambda recipe: 0.0,
    )


def test_a_candidate_is_read_on_val_alone(readers: Any) -> None:
    cells = make.cells(grid={"steps": [5, 6, 7]}, eval={"candidates": "val"})
    rows = [compute_candidate(readers, cell, best=0.85).columns for cell in cells]
    assert readers.read == 3
    assert [row["val_forget_accuracy"] for row in rows] == [0.0, 0.0, 0.4]
    assert [row["val_retain_accuracy"] for row in rows] == [0.9, 0.8, 0.9]
    assert [row["val_bar"] for row in rows] == [None, 0.85, 0.85]  # of those that were stopped


class Answers:
    """A classifier of two classes that is wrong on some blank images, told apart by their pixel."""

    def __init__(self, wrong: set[int]) -> None:
        self.wrong = wrong

    def __call__(self, x: Tensor) -> Tensor:
        labels = []
        for pixel in (255 * x[:, 0, 0, 0]).round().int().tolist():
            label = int(pixel >= 5)  # the first five images are of class 0, which is forgotten
            labels.append(1 - label if pixel in self.wrong else label)
        return torch.nn.functional.one_hot(torch.tensor(labels), 2).float()


def test_the_regret_of_a_choice_is_read_on_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 5 forget and 10 retain images. The chosen cell recognises 1 and misses 2: .8 - 1.5 x .2 =
    .5; the others score .7 - 0 and .9 - 1.5 x .4 = .3.
    """
    monkeypatch.setattr(METHODS["fine-tune"], "__call__", steps_as_weights)
    pixels = torch.arange(15, dtype=torch.uint8).reshape(15, 1, 1, 1)
    images = Images(pixels, (torch.arange(15) >= 5).long())
    test = Split(images.take(torch.arange(5)), images.take(torch.arange(5, 15)))
    wrong = {
        5: {0, 1, 2, 3, 5, 6},
        6: {0, 1, 2, 3, 4, 7, 8, 9},
        7: {0, 1, 2, 14},
    }
    cache: Any = SimpleNamespace(
        device="cpu",
        lending=nullcontext,
        needs=lambda cell: {},
        splits=lambda *_: Splits(None, None, test),  # type: ignore[arg-type]
        model=lambda recipe: Answers(set()),
        build=lambda recipe, weights: Answers(wrong[int(weights["steps"])]),
    )
    chosen, *others = make.cells(grid={"steps": [5, 6, 7]})
    assert selection_regret(cache, chosen, others) == pytest.approx(0.2)
    assert selection_regret(cache, chosen, others[1:]) == 0


def test_the_best_so_far_is_of_candidates_read_to_their_end() -> None:
    best = BestSoFar()

    def after(forget: float | None, retain: float, **more: Any) -> float:
        accuracies = {"val_forget_accuracy": forget, "val_retain_accuracy": retain}
        best.update("ssd", val_scores(make.scored(**accuracies, **more)))
        return best.of("ssd")

    assert best.of("ssd") == -math.inf
    assert after(0.2, 0.9) == pytest.approx(0.6)
    assert after(0.2, 0.8) == pytest.approx(0.6)  # worse
    assert after(0.0, 0.9, val_stopped=True) == pytest.approx(0.6)
    assert after(None, 0.9, status="failed") == pytest.approx(0.6)
    assert after(0.1, 0.9, val_stopped=False) == pytest.approx(0.75)
    assert best.of("scrub") == -math.inf
