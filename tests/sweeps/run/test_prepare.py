"""Making artifacts: what cannot be made fails alone. Tasks run here at once, in place of Ray's workers."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from ray.exceptions import OutOfMemoryError, RayError, RayTaskError, WorkerCrashedError

from sweeps.plan.plan import make_plan
from sweeps.rows.results import Results
from sweeps.run import prepare as preparing
from sweeps.run.prepare import prepare
from sweeps.run.run import _Clock, _prepare, places_for
from sweeps.spec.cells import Recipe, problems
from sweeps.spec.parse import parse
from sweeps.spec.sweep import Resources
from unlearn.artifacts import Store
from unlearn.splits import Dataset
from unlearn.train import Training

ORIGINAL = Recipe("original", "mnist5k", "cnn", 0, (), ())
EXPERT = Recipe("expert", "mnist5k", "cnn", 0, (1,), (), (ORIGINAL,))
ORACLE = Recipe("oracle", "mnist5k", "cnn", 0, (1,), ())


class InPlace:
    """What `prepare` uses of Ray, without a worker; a task whose maker raises a Ray error is one that Ray lost."""

    def __init__(self) -> None:
        self.options: dict[str, dict[str, Any]] = {}  # by task

    def remote(self, **_: Any) -> Callable[[Callable[..., Any]], Any]:
        return lambda function: SimpleNamespace(
            options=lambda **options: self._task(function, options)
        )

    def _task(self, function: Callable[..., Any], options: dict[str, Any]) -> Any:
        self.options[options["name"]] = options
        return SimpleNamespace(remote=lambda *arguments: _Task(function, arguments))

    def wait(self, tasks: list["_Task"]) -> tuple[list["_Task"], list["_Task"]]:
        return tasks[:1], tasks[1:]

    def get(self, task: "_Task") -> Any:
        if isinstance(task.result, RayError):
            raise task.result
        return task.result


class _Task:
    def __init__(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        needs = [argument.result for argument in arguments if isinstance(argument, _Task)]
        plain = [argument for argument in arguments if not isinstance(argument, _Task)]
        lost = next((need for need in needs if isinstance(need, RayError)), None)
        self.result = (
            RayTaskError("f", "Traceback", lost) if lost else _result(function, *plain, *needs)
        )


def _result(function: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return function(*arguments)
    except Lost as lost:
        return lost.error


class Lost(BaseException):
    """Ends a task as its worker's end would."""

    def __init__(self, error: RayError) -> None:
        self.error = error


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
    error: BaseException, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preparing, "ray", InPlace())
    monkeypatch.setitem(preparing.MAKERS, "original", failing(error))
    monkeypatch.setitem(
        preparing.MAKERS, "oracle", lambda cache, recipe: ({"w": torch.zeros(1)}, {})
    )
    store, done = Store(str(tmp_path)), []
    recipes = [ORIGINAL, EXPERT, ORACLE]
    resources = dict.fromkeys((recipe.key for recipe in recipes), Resources())
    failed = prepare(store, "data", recipes, resources, lambda recipe, seconds: done.append(recipe))
    assert failed.keys() == {ORIGINAL.key, EXPERT.key}
    assert f"original cnn seed 0: {says}" in failed[ORIGINAL.key]
    assert f"expert cnn of [1] seed 0: {says}" in failed[EXPERT.key]
    assert done == recipes
    assert store.has("oracle", ORACLE.key)


def test_an_artifact_is_made_with_the_resources_of_the_first_sweep_that_needs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray = InPlace()
    monkeypatch.setattr(preparing, "ray", ray)
    for kind in preparing.MAKERS:
        monkeypatch.setitem(
            preparing.MAKERS, kind, lambda cache, recipe: ({"w": torch.zeros(1)}, {})
        )
    base = {"models": "cnn", "forget": [1]}
    sweeps = [
        parse({**base, "name": "a", "method": "fine-tune", "resources": {"cpu": 1}}),
        parse(
            {
                **base,
                "name": "b",
                "method": "task-arithmetic",
                "forget": [1, 2],
                "resources": {"cpu": 2, "gpu": 0.5},
            }
        ),
        parse({**base, "name": "c", "method": "sign-consensus", "resources": {"cpu": 3}}),
    ]
    places = places_for(str(tmp_path / "store"), str(tmp_path / "results"), "data")
    plan = make_plan(sweeps, Store(places.store), Results(places.results))
    assert not _prepare(plan, places, _Clock(lambda *_: None))
    asked = {
        name: (options["num_cpus"], options["num_gpus"]) for name, options in ray.options.items()
    }
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
    """The oracle never sees the forgotten class, the expert nothing else, no one the test images."""
    monkeypatch.setattr(
        preparing,
        "fit",
        lambda model, images, plan, generator, **_: (images, generator.initial_seed()),
    )
    monkeypatch.setattr(
        preparing, "train_judge", lambda model, images, plan, generator, _: (images, generator)
    )
    cache: Any = SimpleNamespace(
        dataset=lambda name: digits,
        build=lambda recipe: None,
        model=lambda recipe: None,
        device="cpu",
    )
    sweep = parse(
        {
            "name": "s",
            "models": "cvae-mlp",
            "method": "selective-amnesia",
            "forget": [3],
            "seeds": [0, 1],
        }
    )
    drawn: dict[str, set[int]] = {}
    for problem in problems(sweep):
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
        dataset=lambda name: digits, model=lambda recipe: None, device="cpu"
    )
    train = {
        "label_smoothing": 0.1,
        "weight_decay": 0.05,
        "expert_steps": 7,
        "expert_lr": 0.5,
        "expert_norms": norms,
    }
    train |= {"schedule": "cosine", "expert_schedule": "constant"}
    sweep = parse(
        {"name": "s", "models": "cnn", "method": "task-arithmetic", "forget": [3], "train": train}
    )
    made = preparing.MAKERS["expert"](cache, next(problems(sweep)).expert)
    assert made == (Training(steps=7, lr=0.5, schedule="constant", weight_decay=0.05), steady)  # type: ignore[comparison-overlap]
