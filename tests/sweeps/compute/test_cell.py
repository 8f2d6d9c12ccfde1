"""Computing a cell: a method's random numbers, counts of attacks, seconds of artifacts."""

from contextlib import nullcontext
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
import torch

from sweeps.compute import attacks
from sweeps.compute import cell as computing
from sweeps.spec.recipes import Recipe
from tests.sweeps import builders as make
from unlearn.attacks import ATTACKS, Attack, Findings
from unlearn.attacks.generators.base import GeneratorAttack, Recovery
from unlearn.capture import StepReport
from unlearn.methods import METHODS


def test_an_attacks_excess_is_counted_from_the_oracle(monkeypatch: pytest.MonkeyPatch) -> None:
    hits = {"subject": 60, "original": 90, "oracle": 20, "untrained": 1}

    @dataclass(frozen=True)
    class Counted(GeneratorAttack):
        def prepare(self, target: Any, original: Any) -> Any:
            return None

        def run(self, target: Any, model: Any, prepared: Any) -> Recovery:
            return Recovery(hits[model], 100, torch.empty(0))

    monkeypatch.setitem(ATTACKS, "random-z", Counted())
    cell = make.cell(models="cvae-mlp", method="selective-amnesia", eval={"attacks": ["random-z"]})

    class Cache(SimpleNamespace):
        device = "cpu"

        def build(self, recipe: Recipe, weights: Any = None) -> str:
            return "untrained" if weights is None else "subject"

        def model(self, recipe: Recipe) -> str:
            return recipe.kind

        def evaluator(self, problem: Any) -> None: ...

        def splits(self, dataset: str, forget: Any) -> None: ...

        def keep(self, make: Any, *arguments: Any) -> Any:
            return make(self, *arguments)

    cache: Any = Cache()
    record, pictures = attacks.attack(cache, cell, {})
    references = GeneratorAttack.reference_models
    rates = {name: record[f"{name}_probe_random_z_rate"] for name in references}
    assert rates == {"original": 0.9, "oracle": 0.2, "untrained": 0.01}
    assert record["probe_random_z_rate"] == 0.6
    assert record["probe_random_z_excess"] == pytest.approx(0.4)
    low, high = record["probe_random_z_excess_low"], record["probe_random_z_excess_high"]
    assert 0.2 < low < 0.4 < high < 0.6
    assert list(pictures) == ["random-z", "original:random-z", "oracle:random-z"]


def test_what_a_method_draws_follows_from_seed_and_method(monkeypatch: pytest.MonkeyPatch) -> None:
    def first_seed(
        self: Any, model: Any, splits: Any, generator: torch.Generator, **needs: Any
    ) -> Any:
        return generator.initial_seed()

    names = ["fine-tune", "cf-k"]
    for name in names:
        monkeypatch.setattr(METHODS[name], "__call__", first_seed)
    cache: Any = SimpleNamespace(
        device="cpu", lending=nullcontext, splits=lambda *_: None, model=lambda _: None
    )
    cells = make.cells(method=names, seeds=[0, 1])
    drawn = [computing.unlearn(cache, cell, {}) for cell in cells]
    assert len(set(drawn)) == len(cells) == 4
    assert drawn == [computing.unlearn(cache, cell, {}) for cell in cells]


def test_an_attack_that_breaks_takes_nothing_else_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    @dataclass(frozen=True)
    class Works(Attack):
        task: ClassVar[str] = "classifier"

        def __call__(self, subject: Any, references: Any, unlearn: Any = None) -> Findings:
            return Findings({"relearning of": subject})

    @dataclass(frozen=True)
    class Breaks(Works):
        def __call__(self, subject: Any, references: Any, unlearn: Any = None) -> Findings:
            raise RuntimeError("out of memory")

    monkeypatch.setitem(ATTACKS, "lira", Breaks())
    monkeypatch.setitem(ATTACKS, "relearning", Works())
    cell = make.cell(eval={"attacks": ["lira", "relearning"]})
    cache: Any = SimpleNamespace(build=lambda *_: "the model", keep=lambda *_: None)
    found, pictures = attacks.attack(cache, cell, {})
    error = found.pop("error")
    assert isinstance(error, str)
    assert error.startswith("no lira: RuntimeError: out of memory (test_cell.py:")
    assert (found, pictures) == ({"relearning of": "the model"}, {})


def test_steps_count_as_captured_where_all_of_them_ran_as_graphs() -> None:
    graph = StepReport("H100", steps=100, replayed=97)
    python = StepReport("H100", steps=100, obstacle="the step reads a value on the host")
    on_a_cpu = StepReport("cpu", steps=100)
    assert computing.steps_captured([graph, on_a_cpu]) is True
    assert computing.steps_captured([graph, python]) is False
    assert computing.steps_captured([on_a_cpu]) is None
    assert computing.steps_captured([]) is None
