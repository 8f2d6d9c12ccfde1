"""Making artifacts: one that cannot be made fails alone. Tasks run here, at once, without Ray."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray
from ray.exceptions import OutOfMemoryError, RayTaskError, WorkerCrashedError

from sweeps.compute import artifacts
from sweeps.run import prepare as preparing
from sweeps.run.budget import Allowance, Budget
from sweeps.run.prepare import prepare
from sweeps.run.run import run
from sweeps.spec.recipes import Recipe
from sweeps.spec.sections import Resources
from tests.sweeps import builders as make
from tests.sweeps import packs
from tests.sweeps.run.stand_ins import InPlace, Lost, Tuner
from unlearn.errors import CannotWrite

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
    monkeypatch.setitem(artifacts.MAKERS, "original", failing(error))
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
    monkeypatch.setattr(artifacts, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
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
    run(plan, packs.places(tmp_path), lambda *_: None, joined=True)
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


def test_a_store_that_cannot_be_written_ends_the_run(
    tmp_path: Path, in_place: InPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What waits is cancelled, so that a cluster does not go on with it."""
    full = RayTaskError("f", "Traceback", CannotWrite("cannot write /x: No space left on device"))
    monkeypatch.setitem(artifacts.MAKERS, "original", failing(Lost(full)))
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
