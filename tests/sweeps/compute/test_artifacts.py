"""Making artifacts: what each is trained on, and models that are trained as one program."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from sweeps.compute import artifacts
from sweeps.spec.recipes import Recipe
from tests.sweeps import builders as make
from unlearn.errors import NotFinite
from unlearn.splits import Dataset
from unlearn.train import Training

GENERATORS = {"models": "cvae-mlp", "method": "selective-amnesia", "forget": [[0], [1]]}


def trained(**changes: Any) -> list[Recipe]:
    """The originals and oracles of a sweep of generators, each once."""
    found: dict[str, Recipe] = {}
    for problem in make.problems_of(make.sweep(**{**GENERATORS, **changes})):
        for recipe in (problem.original, problem.oracle):
            found.setdefault(recipe.key, recipe)
    return list(found.values())


def test_what_each_artifact_is_trained_on_and_that_seeds_differ(
    digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No oracle sees the forgotten class, no expert another one, and nobody the test images."""
    monkeypatch.setattr(
        artifacts,
        "fit",
        lambda model, images, plan, generator, **_: (images, generator.initial_seed()),
    )
    monkeypatch.setattr(
        artifacts, "train_judge", lambda model, images, plan, generator, *_: (images, generator)
    )
    cache: Any = SimpleNamespace(
        dataset=lambda name: digits,
        splits=lambda name, forget: digits.split(forget),
        build=lambda recipe: None,
        model=lambda recipe: None,
        device="cpu",
    )
    generator = {"models": "cvae-mlp", "method": "selective-amnesia"}
    sweep = make.sweep(**generator, forget=[3], seeds=[0, 1])
    drawn: dict[str, set[int]] = {}
    for problem in make.problems_of(sweep):
        seen: dict[str, Any] = {}
        for kind in ("original", "oracle", "expert"):
            seen[kind], seed = artifacts.MAKERS[kind](cache, getattr(problem, kind))
            drawn.setdefault(kind, set()).add(seed)  # type: ignore[arg-type]
        assert seen["original"] is digits.train
        assert len(seen["oracle"]) == 3150
        assert set(seen["oracle"].y.tolist()) == set(range(10)) - {3}
        assert (len(seen["expert"]), set(seen["expert"].y.tolist())) == (350, {3})
        for judge in problem.judges.values():
            assert artifacts.MAKERS["judge"](cache, judge)[0] is digits.train
    assert [len(seeds) for seeds in drawn.values()] == [2, 2, 2]
    assert len(set.union(*drawn.values())) == 6


@pytest.mark.parametrize(("norms", "steady"), [("original", True), ("batch", False)])
def test_an_expert_is_trained_plainly_at_the_norms_it_is_asked(
    norms: str, steady: bool, digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        artifacts, "fit", lambda model, images, plan, generator, steady: (plan, steady)
    )
    cache: Any = SimpleNamespace(
        splits=lambda name, forget: digits.split(forget),
        model=lambda recipe: None,
        device="cpu",
    )
    train = {
        "label_smoothing": 0.1,
        "weight_decay": 0.05,
        "expert_steps": 7,
        "expert_lr": 0.5,
        "expert_norms": norms,
    }
    train |= {"schedule": "cosine", "expert_schedule": "constant"}
    problem = make.problem(method="task-arithmetic", forget=[3], train=train)
    made = artifacts.MAKERS["expert"](cache, problem.expert)
    assert made == (Training(steps=7, lr=0.5, schedule="constant", weight_decay=0.05), steady)  # type: ignore[comparison-overlap]


def test_what_trains_as_one_program_is_what_trains_alone(tmp_path: Path) -> None:
    """Same keys, weights up to rounding; the card says how many were trained together."""
    train = {"steps": 12, "batch": 16, "label_critic": 1.0}
    recipes = trained(train=train)
    together, alone = make.store(tmp_path / "together"), make.store(tmp_path / "alone")
    outcomes = artifacts.make_together(together, "data", recipes, 0, 1)
    assert [outcomes[recipe.key][0] for recipe in recipes] == ["", "", ""]
    for recipe in recipes:
        artifacts.make(alone, "data", recipe, 0, 1)
        made, wanted = (store.load(recipe.kind, recipe.key) for store in (together, alone))
        for name, tensor in wanted.items():
            torch.testing.assert_close(made[name], tensor, rtol=0.05, atol=2e-3)
        assert together.card(recipe.kind, recipe.key)["stacked"] == 3
        assert "stacked" not in alone.card(recipe.kind, recipe.key)


def test_where_a_stack_does_not_fit_its_halves_are_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []

    def full(models: list[Any], *_: Any) -> Any:
        sizes.append(len(models))
        if len(models) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return [NotFinite("too hot")] * len(models)

    monkeypatch.setattr(artifacts, "fit_together", full)
    recipes = trained(seeds=[0, 1])[:4]
    outcomes = artifacts.make_together(make.store(tmp_path), "data", recipes, 0, 1)
    assert sizes == [4, 2, 2]
    assert {error for error, _ in outcomes.values()} == {"NotFinite: too hot"}


def test_where_a_stack_breaks_each_is_trained_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("vmap: no rule for this layer")

    monkeypatch.setattr(artifacts, "fit_together", broken)
    for kind in ("original", "oracle"):
        monkeypatch.setitem(artifacts.MAKERS, kind, lambda *_: ({"w": torch.zeros(1)}, {}))
    recipes, store = trained(), make.store(tmp_path)
    outcomes = artifacts.make_together(store, "data", recipes, 0, 1)
    assert {error for error, _ in outcomes.values()} == {""}
    assert all(store.has(recipe.kind, recipe.key) for recipe in recipes)
    assert "trained one by one: RuntimeError: vmap: no rule" in capsys.readouterr().err


def test_an_expert_s_budget_in_epochs_is_passes_over_the_forget_set(
    digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """350 images of a digit in batches of 64 are 6 steps an epoch."""
    monkeypatch.setattr(artifacts, "fit", lambda model, images, plan, generator, steady: (plan, {}))
    cache: Any = SimpleNamespace(
        splits=lambda name, forget: digits.split(forget),
        model=lambda recipe: None,
        device="cpu",
    )
    train = {"expert_epochs": 2.5}
    problem = make.problem(method="task-arithmetic", forget=[3], train=train)
    plan: Any = artifacts.MAKERS["expert"](cache, problem.expert)[0]
    assert plan.steps == 15
    plain = make.problem(method="task-arithmetic", forget=[3])
    assert "expert_epochs" not in dict(plain.expert.knobs)
    assert plain.expert.key != problem.expert.key


class Counting(torch.nn.Module):
    """Is right about label 3 once its weight has been raised three times."""

    def __init__(self) -> None:
        super().__init__()
        self.level = torch.nn.Parameter(torch.zeros(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits = torch.zeros(len(x), 10)
        logits[:, 0] = 2.5
        logits[:, 3] = self.level.detach()
        return logits


@pytest.mark.parametrize(("accuracy", "rounds"), [(0.0, 1), (1.0, 3)])
def test_an_expert_is_trained_until_it_is_accurate(
    accuracy: float, rounds: int, digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    def raised(
        model: Any, images: Any, plan: Any, generator: Any, steady: bool
    ) -> tuple[dict[str, torch.Tensor], dict[str, list[float]]]:
        return {"level": model.level.detach() + 1}, {"step": [1.0], "loss": [0.5]}

    monkeypatch.setattr(artifacts, "fit", raised)
    original = Counting()
    cache: Any = SimpleNamespace(
        splits=lambda name, forget: digits.split(forget),
        model=lambda recipe: original,
        device="cpu",
    )
    train = {"expert_accuracy": accuracy}
    problem = make.problem(method="task-arithmetic", forget=[3], train=train)
    weights, curve = artifacts.MAKERS["expert"](cache, problem.expert)
    assert weights["level"].item() == rounds
    assert curve["step"] == [float(step) for step in range(1, rounds + 1)]
    assert original.level.item() == 0
