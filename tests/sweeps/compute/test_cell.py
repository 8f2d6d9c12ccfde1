"""Computing a cell: which numbers a method draws, how attacks are counted, what made it cost."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
import torch

from sweeps.compute import attacks
from sweeps.compute import cell as computing
from sweeps.spec.cells import Recipe
from tests.sweeps import builders as make
from unlearn.attacks.classifiers import ATTACKS
from unlearn.attacks.classifiers.base import Attack
from unlearn.attacks.generators import PROBES, Outcome
from unlearn.early_stop import Race
from unlearn.methods import METHODS, Unlearned
from unlearn.methods.task_arithmetic import TaskArithmetic


def test_an_attacks_excess_is_counted_from_the_oracle(monkeypatch: pytest.MonkeyPatch) -> None:
    hits = {"subject": 60, "original": 90, "oracle": 20, "untrained": 1}

    def probe(model: Any, context: Any, generator: Any) -> Outcome:
        return Outcome(hits[model], 100, torch.empty(0))

    monkeypatch.setitem(PROBES, "random-z", probe)
    cell = make.cell(models="cvae-mlp", method="selective-amnesia", eval={"attacks": ["random-z"]})

    class Cache(SimpleNamespace):
        device = "cpu"

        def build(self, recipe: Recipe, weights: Any = None) -> str:
            return "untrained" if weights is None else "subject"

        def model(self, recipe: Recipe) -> str:
            return recipe.kind

        def keep(self, make: Any, *arguments: Any) -> Any:
            return None if make is attacks.make_context else make(self, *arguments)

    cache: Any = Cache()
    record, pictures = attacks.attack(cache, cell, {})
    rates = {name: record[f"{name}_probe_random_z_rate"] for name in attacks.REFERENCES}
    assert rates == {"original": 0.9, "oracle": 0.2, "untrained": 0.01}
    assert record["probe_random_z_rate"] == 0.6
    assert record["probe_random_z_excess"] == pytest.approx(0.4)
    low, high = record["probe_random_z_excess_low"], record["probe_random_z_excess_high"]
    assert 0.2 < low < 0.4 < high < 0.6
    assert list(pictures) == ["random-z"]


def test_what_a_method_draws_follows_from_seed_and_method(monkeypatch: pytest.MonkeyPatch) -> None:
    def first_seed(
        self: Any, model: Any, splits: Any, generator: torch.Generator, **needs: Any
    ) -> Any:
        return generator.initial_seed()

    names = ["fine-tune", "cf-k"]
    for name in names:
        monkeypatch.setattr(METHODS[name], "__call__", first_seed)
    cache: Any = SimpleNamespace(device="cpu", splits=lambda *_: None, model=lambda _: None)
    cells = make.cells(method=names, seeds=[0, 1])
    drawn = [computing.unlearn(cache, cell, {}) for cell in cells]
    assert len(set(drawn)) == len(cells) == 4
    assert drawn == [computing.unlearn(cache, cell, {}) for cell in cells]


def test_an_attack_that_breaks_takes_nothing_else_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    @dataclass(frozen=True)
    class Works(Attack):
        columns: ClassVar[Mapping[str, type]] = {"made": str}

        def __call__(self, evaluator: Any, subject: Any, references: Any, seed: int) -> Any:
            return {"relearning of": subject}

    @dataclass(frozen=True)
    class Breaks(Works):
        def __call__(self, evaluator: Any, subject: Any, references: Any, seed: int) -> Any:
            raise RuntimeError("out of memory")

    monkeypatch.setitem(ATTACKS, "lira", Breaks)
    monkeypatch.setitem(ATTACKS, "relearning", Works)
    cell = make.cell(eval={"attacks": ["lira", "relearning"]})
    cache: Any = SimpleNamespace(
        build=lambda *_: "the model", evaluator=lambda _: None, keep=lambda *_: None
    )
    found, pictures = attacks.attack(cache, cell, {})
    error = found.pop("error")
    assert isinstance(error, str)
    assert error.startswith("no lira: RuntimeError: out of memory (test_cell.py:")
    assert (found, pictures) == ({"relearning of": "the model"}, {})


@pytest.mark.parametrize(
    ("method", "needs"), [("retrain", 100.0), ("task-arithmetic", 3.0), ("fine-tune", 0.0)]
)
def test_retraining_saves_nothing_over_retraining(
    method: str, needs: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a method is given counts, an oracle too; an oracle for comparison alone does not."""
    monkeypatch.setattr(METHODS[method], "__call__", lambda *_, **__: Unlearned({}))
    monkeypatch.setattr(TaskArithmetic, "operate", lambda *_: None)
    reader = SimpleNamespace(run=lambda *_: Race(0.0, 1.0, 500, False))
    seconds = {"oracle": 100.0, "expert": 3.0}
    cache: Any = SimpleNamespace(
        device="cpu",
        needs=lambda cell: {},
        keep=lambda *_: reader,
        splits=lambda *_: None,
        model=lambda recipe: None,
        writer=lambda *_: None,
        build=lambda *_: None,
        seconds=lambda recipe: seconds[recipe.kind],
    )
    row = computing.compute_candidate(cache, make.cell(method=method), bar=0.0)
    assert (row["oracle_s"], row["needs_s"]) == (100.0, needs)


def steps_as_weights(self: Any, *_: Any, **__: Any) -> Unlearned:
    """Stands for unlearning: the model that comes out is known by the method's steps."""
    return Unlearned({"steps": torch.tensor(self.steps)})


class Readers(SimpleNamespace):
    """A cache whose readers know what each model, named by its steps, scores: (forget, retain)."""

    device = "cpu"

    def keep(self, make: Any, dataset: str, forget: tuple[int, ...], split: str) -> Any:
        def read(model: int, weight: float, bar: float) -> Race:
            self.asked.append(split)
            forget_share, retain_share = self.scores[split][model]
            stopped = retain_share - weight * forget_share < bar
            return Race(forget_share, retain_share, 500, stopped)

        return SimpleNamespace(run=read)

    def build(self, recipe: Recipe, weights: Any) -> int:
        return int(weights["steps"])


@pytest.fixture
def readers(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Three candidates of fine-tuning: on val the first is best, on test the second."""
    monkeypatch.setattr(METHODS["fine-tune"], "__call__", steps_as_weights)
    return Readers(
        asked=[],
        scores={
            "val": {5: (0.0, 0.9), 6: (0.0, 0.8), 7: (0.4, 0.9)},
            "test": {5: (0.2, 0.8), 6: (0.0, 0.7), 7: (0.4, 0.9)},
        },
        needs=lambda cell: {},
        splits=lambda *_: None,
        model=lambda recipe: None,
        seconds=lambda recipe: 0.0,
    )


def test_a_candidate_is_read_on_val_alone(readers: Any) -> None:
    cells = make.cells(grid={"steps": [5, 6, 7]}, eval={"candidates": "val"})
    rows = [computing.compute_candidate(readers, cell, bar=0.85) for cell in cells]
    assert readers.asked == ["val"] * 3
    assert [row["val_forget_accuracy"] for row in rows] == [0.0, 0.0, 0.4]
    assert [row["val_retain_accuracy"] for row in rows] == [0.9, 0.8, 0.9]
    assert [row["val_bar"] for row in rows] == [None, 0.85, 0.85]  # of those that were stopped


def test_the_regret_of_a_choice_is_read_on_test(readers: Any) -> None:
    """On test the chosen cell scores .8 - 1.5 x .2 = .5, the others .7 and .9 - 1.5 x .4 = .3."""
    chosen, *others = make.cells(grid={"steps": [5, 6, 7]})
    assert computing.selection_regret(readers, chosen, others) == pytest.approx(0.2)
    assert computing.selection_regret(readers, chosen, others[1:]) == 0
    assert set(readers.asked) == {"test"}


def test_the_best_so_far_is_of_candidates_read_to_their_end() -> None:
    best = computing.BestSoFar()

    def heed(forget: float | None, retain: float, **more: Any) -> float:
        accuracies = {"val_forget_accuracy": forget, "val_retain_accuracy": retain}
        best.heed("ssd", make.scored(**accuracies, **more))
        return best.of("ssd")

    assert best.of("ssd") == -math.inf
    assert heed(0.2, 0.9) == pytest.approx(0.6)
    assert heed(0.2, 0.8) == pytest.approx(0.6)  # worse
    assert heed(0.0, 0.9, val_stopped=True) == pytest.approx(0.6)
    assert heed(None, 0.9, status="failed") == pytest.approx(0.6)
    assert heed(0.1, 0.9, val_stopped=False) == pytest.approx(0.75)
    assert best.of("scrub") == -math.inf
