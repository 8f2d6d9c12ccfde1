"""Making artifacts: one that cannot be made fails alone. Tasks run here, at once, without Ray."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray
import torch
from ray.exceptions import OutOfMemoryError, RayTaskError, WorkerCrashedError

from sweeps.run import prepare as preparing
from sweeps.run.budget import Allowance, Budget
from sweeps.run.prepare import prepare
from sweeps.run.run import run
from sweeps.spec.cells import Recipe
from sweeps.spec.sweep import Resources
from tests.sweeps import builders as make
from tests.sweeps import packs
from tests.sweeps.run.stand_ins import InPlace, Lost, Tuner
from unlearn.errors import CannotWrite, NotFinite
from unlearn.splits import Dataset
from unlearn.train import Training

ORIGINAL = make.recipe("original")
EXPERT = make.recipe("expert", ORIGINAL, forget=(1,))
ORACLE = make.recipe("oracle", forget=(1,))


def failing(error: BaseException) -> Callable[..., Any]:
    def maker(*_: Any) -> Any:
        raise error

    return maker


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (KeyError("width"), "KeyError: 'width'"),
        (ImportError("no module"), "ImportError: no module"),
        (Lost(WorkerCrashedError()), "WorkerCrashedError: The worker died"),
        (Lost(OutOfMemoryError("low on memory")), "OutOfMemoryError: low on memory"),
    ],
)
def test_what_cannot_be_made_fails_with_what_needs_it_and_nothing_else(
    error: BaseException,
    says: str,
    tmp_path: Path,
    in_place: InPlace,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(preparing.MAKERS, "original", failing(error))
    store, done = make.store(tmp_path), []
    recipes = [ORIGINAL, EXPERT, ORACLE]
    resources = dict.fromkeys((recipe.key for recipe in recipes), Resources())
    failed = prepare(store, "data", recipes, resources, lambda recipe, seconds: done.append(recipe))
    assert failed.keys() == {ORIGINAL.key, EXPERT.key}
    assert f"original cnn seed 0: {says}" in failed[ORIGINAL.key]
    assert f"expert cnn of [1] seed 0: {says}" in failed[EXPERT.key]
    assert done == recipes
    assert store.has("oracle", ORACLE.key)


def test_a_card_says_in_seconds_what_its_artifact_took(
    tmp_path: Path, in_place: InPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([10.0, 12.5])
    monkeypatch.setattr(preparing, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    store, resources = make.store(tmp_path), {ORIGINAL.key: Resources()}
    took: list[float] = []
    prepare(store, "data", [ORIGINAL], resources, lambda recipe, seconds: took.append(seconds))
    assert took == [2.5]
    assert store.card("original", ORIGINAL.key)["seconds"] == 2.5


def test_an_artifact_is_made_with_the_resources_of_the_first_sweep_that_needs_it(
    tmp_path: Path, in_place: InPlace, tuner: type[Tuner]
) -> None:
    one, two, three = {"cpu": 1}, {"cpu": 2, "gpu": 0.5}, {"cpu": 3}
    sweeps = [
        make.sweep(name="a", method="fine-tune", resources=one),
        make.sweep(name="b", method="task-arithmetic", forget=[1, 2], resources=two),
        make.sweep(name="c", method="sign-consensus", resources=three),
    ]
    plan = make.plan(tmp_path, *sweeps)
    run(plan, packs.places(tmp_path), lambda *_: None, growing=True)
    assert not make.results(tmp_path).sweeps()  # nothing failed
    asked = {}
    for name, options in in_place.options.items():
        asked[name] = (options["num_cpus"], options["num_gpus"])
    assert asked == {
        "original cnn seed 0": (1, 0),
        "oracle cnn without [1] seed 0": (1, 0),
        "oracle cnn without [2] seed 0": (2, 0.5),
        "expert cnn of [1] seed 0": (2, 0.5),
        "expert cnn of [2] seed 0": (2, 0.5),
        "expert cnn of [1] seed 1000": (3, 0),
        "expert cnn of [1] seed 2000": (3, 0),
    }


def test_what_each_artifact_is_trained_on_and_that_seeds_differ(
    digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No oracle sees the forgotten class, no expert another one, and nobody the test images."""
    monkeypatch.setattr(
        preparing,
        "fit",
        lambda model, images, plan, generator, **_: (images, generator.initial_seed()),
    )
    monkeypatch.setattr(
        preparing, "train_judge", lambda model, images, plan, generator, *_: (images, generator)
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
            seen[kind], seed = preparing.MAKERS[kind](cache, getattr(problem, kind))
            drawn.setdefault(kind, set()).add(seed)  # type: ignore[arg-type]
        assert seen["original"] is digits.train
        assert len(seen["oracle"]) == 3150
        assert set(seen["oracle"].y.tolist()) == set(range(10)) - {3}
        assert (len(seen["expert"]), set(seen["expert"].y.tolist())) == (350, {3})
        for judge in problem.judges.values():
            assert preparing.MAKERS["judge"](cache, judge)[0] is digits.train
    assert [len(seeds) for seeds in drawn.values()] == [2, 2, 2]
    assert len(set.union(*drawn.values())) == 6


@pytest.mark.parametrize(("norms", "steady"), [("original", True), ("batch", False)])
def test_an_expert_is_trained_plainly_at_the_norms_it_is_asked(
    norms: str, steady: bool, digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        preparing, "fit", lambda model, images, plan, generator, steady: (plan, steady)
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
    made = preparing.MAKERS["expert"](cache, problem.expert)
    assert made == (Training(steps=7, lr=0.5, schedule="constant", weight_decay=0.05), steady)  # type: ignore[comparison-overlap]


def test_a_store_that_cannot_be_written_ends_the_run(
    tmp_path: Path, in_place: InPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What waits is cancelled, so that a cluster does not go on with it."""
    full = RayTaskError("f", "Traceback", CannotWrite("cannot write /x: No space left on device"))
    monkeypatch.setitem(preparing.MAKERS, "original", failing(Lost(full)))
    recipes = [ORIGINAL, ORACLE]
    resources = dict.fromkeys((recipe.key for recipe in recipes), Resources())
    with pytest.raises(CannotWrite, match="No space left on device"):
        prepare(make.store(tmp_path), "data", recipes, resources, lambda *_: None)
    assert len(in_place.cancelled) == 1


def test_a_budget_that_is_spent_leaves_artifacts_unmade(tmp_path: Path, in_place: InPlace) -> None:
    clock = iter([0.0, *[61.0] * 9])
    allowance = Allowance(Budget(seconds=60), now=lambda: next(clock))
    resources = {ORIGINAL.key: Resources()}
    done: list[Any] = []
    prepare(
        make.store(tmp_path), "data", [ORIGINAL], resources, lambda *_: done.append(1), allowance
    )
    assert (allowance.spent, done, len(in_place.cancelled)) == (True, [], 1)


GENERATORS = {"models": "cvae-mlp", "method": "selective-amnesia", "forget": [[0], [1]]}


def needed(**changes: Any) -> list[Recipe]:
    """The artifacts of a sweep of generators, each once."""
    found: dict[str, Recipe] = {}
    sweep = make.sweep(**{**GENERATORS, **changes})
    for problem in make.problems_of(sweep):
        for recipe in problem.recipes(("fisher",)).values():
            found.setdefault(recipe.key, recipe)
    return list(found.values())


def groups_of(recipes: list[Recipe], asks: Resources) -> list[list[str]]:
    groups = preparing.grouped(recipes, {recipe.key: asks for recipe in recipes})
    return [[recipe.kind for recipe in group] for group in groups]


def test_originals_and_oracles_are_trained_as_one_program_on_a_gpu(in_place: InPlace) -> None:
    recipes = needed(seeds=[0, 1])
    on_gpu, on_cpu = (groups_of(recipes, Resources(gpu=share)) for share in (0.5, 0))
    assert sorted(on_gpu[0]) == ["oracle"] * 4 + ["original"] * 2
    assert all(len(group) == 1 for group in on_gpu[1:])
    assert sum(map(len, on_gpu)) == len(recipes)
    assert all(len(group) == 1 for group in on_cpu)


def test_a_stack_is_spread_over_all_gpus(
    in_place: InPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = {"Alive": True, "Resources": {"CPU": 8.0, "GPU": 2.0}}
    monkeypatch.setattr(ray, "nodes", lambda: [node, node])
    sizes = [len(group) for group in groups_of(needed(seeds=[0, 1]), Resources(gpu=1))]
    assert sorted(sizes[:4]) == [1, 1, 2, 2]


def test_what_trains_as_one_program_is_what_trains_alone(tmp_path: Path) -> None:
    """Same keys, weights up to rounding; the card says how many were trained together."""
    train = {"steps": 12, "batch": 16, "label_critic": 1.0}
    recipes = [recipe for recipe in needed(train=train) if recipe.kind in ("original", "oracle")]
    together, alone = make.store(tmp_path / "together"), make.store(tmp_path / "alone")
    outcomes = preparing.make_together(together, "data", recipes, 0, 1)
    assert [outcomes[recipe.key][0] for recipe in recipes] == ["", "", ""]
    for recipe in recipes:
        preparing.make(alone, "data", recipe, 0, 1)
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

    monkeypatch.setattr(preparing, "fit_together", full)
    recipes = [r for r in needed(seeds=[0, 1]) if r.kind in ("original", "oracle")][:4]
    outcomes = preparing.make_together(make.store(tmp_path), "data", recipes, 0, 1)
    assert sizes == [4, 2, 2]
    assert {error for error, _ in outcomes.values()} == {"NotFinite: too hot"}


def test_where_a_stack_breaks_each_is_trained_alone(
    tmp_path: Path,
    in_place: InPlace,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(
        preparing, "fit_together", failing(RuntimeError("vmap: no rule for this layer"))
    )
    recipes = [recipe for recipe in needed() if recipe.kind in ("original", "oracle")]
    store = make.store(tmp_path)
    outcomes = preparing.make_together(store, "data", recipes, 0, 1)
    assert {error for error, _ in outcomes.values()} == {""}
    assert all(store.has(recipe.kind, recipe.key) for recipe in recipes)
    assert "trained one by one: RuntimeError: vmap: no rule" in capsys.readouterr().err
