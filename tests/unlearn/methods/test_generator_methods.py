"""The contract of every method that takes generators."""

from dataclasses import fields
from typing import Any

import pytest
import torch

from unlearn.methods import METHODS, make_method
from unlearn.methods.task_vector import TaskVector
from unlearn.models import Weights
from unlearn.models.base import Generative
from unlearn.splits import Dataset, Splits
from unlearn.streams import stream
from unlearn.train import Training, fit, snapshot

GENERATOR = [name for name, kind in METHODS.items() if "generator" in kind.tasks]
SHORT = {"steps": 6, "batch": 16, "fisher_of": 100}


@pytest.fixture(scope="module")
def artifacts(
    digits: Dataset, original: Generative, oracle: Generative, fisher: Weights
) -> dict[str, Any]:
    expert, _ = fit(original, digits.split([0]).train.forget, Training(10, 32), stream(0, "expert"))
    return {"fisher": fisher, "oracle": snapshot(oracle), "expert": TaskVector(original, expert)}


def short(name: str) -> Any:
    own = {field.name for field in fields(METHODS[name])}
    return make_method(name, {knob: value for knob, value in SHORT.items() if knob in own})


@pytest.mark.parametrize("forget", [[3], [0, 1]])
@pytest.mark.parametrize("name", GENERATOR)
def test_a_method_returns_new_finite_repeatable_weights(
    name: str,
    forget: list[int],
    digits: Dataset,
    original: Generative,
    artifacts: dict[str, Any],
) -> None:
    method, splits = short(name), digits.split(forget)
    needs = {need: artifacts[need] for need in method.needs}
    before = snapshot(original)
    given = {key: value.clone() for key, value in artifacts["fisher"].items()}

    first, second = (method(original, splits, stream(7, "method"), **needs) for _ in range(2))

    assert first.weights.keys() == before.keys()
    now = original.state_dict()
    for key, value in first.weights.items():
        assert value.shape == before[key].shape
        assert torch.isfinite(value).all()
        assert torch.equal(value, second.weights[key]), f"{key} differs between two runs"
        assert torch.equal(now[key], before[key]), f"{key} of the original was touched"
    assert all(torch.equal(artifacts["fisher"][key], value) for key, value in given.items())
    assert all(p.grad is None for p in original.parameters())


@pytest.mark.parametrize("name", ["selective-amnesia", "robust-amnesia"])
def test_another_seed_draws_other_batches(
    name: str, splits: Splits, original: Generative, fisher: Weights
) -> None:
    method = short(name)
    needs = {"fisher": fisher} if "fisher" in method.needs else {}
    one, two = (
        method(original, splits, stream(seed, "method"), **needs).weights for seed in (0, 1)
    )
    assert any(not torch.equal(one[key], two[key]) for key in one)
