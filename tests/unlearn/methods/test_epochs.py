"""Budgets in epochs: how many steps they are, by hand, and that they are those steps."""

from typing import Any

import pytest
import torch

from tests.unlearn.methods.tiny import two_pixel_splits, two_pixels
from unlearn.errors import BadInput
from unlearn.methods import METHODS, make_method
from unlearn.methods.amnesiac import Amnesiac
from unlearn.methods.fine_tune import FineTune
from unlearn.methods.iterative import Iterative
from unlearn.methods.random_labels import RandomLabels
from unlearn.methods.scrub import Scrub
from unlearn.methods.unsir import Unsir
from unlearn.streams import stream

BUDGETED = [name for name, kind in METHODS.items() if issubclass(kind, Iterative) and name != "rum"]


@pytest.mark.parametrize(
    ("kind", "epochs", "steps"),
    [
        (RandomLabels, 2.0, 4),  # reads 100 forgotten images: ceil(100 / 64) = 2 batches
        (FineTune, 1.5, 24),  # reads 1,000 retained ones: ceil(1000 / 64) = 16
        (Amnesiac, 1.0, 18),  # reads all 1,100: ceil(1100 / 64) = 18
        (FineTune, 0.001, 1),
    ],
)
def test_epochs_are_passes_over_what_a_method_reads(
    kind: type[Iterative], epochs: float, steps: int
) -> None:
    assert kind(epochs=epochs, batch=64).steps_for(100, 1000) == steps
    assert kind(epochs=0.0, steps=7).steps_for(100, 1000) == 7


@pytest.mark.parametrize("name", BUDGETED)
def test_a_budget_in_epochs_is_the_budget_in_steps(name: str) -> None:
    """Five forgotten and seven retained images in batches of two: 3, 4 or 6 steps an epoch."""
    per_epoch = {"forget": 3, "retain": 4, "all": 6}[METHODS[name].reads]  # type: ignore[attr-defined]
    counted: dict[str, Any] = {"batch": 2, "steps": 2 * per_epoch, "epochs": 0.0}
    passed: dict[str, Any] = {"batch": 2, "epochs": 2.0}
    if name == "scrub":
        counted, passed = counted | {"msteps": 2}, passed | {"ascending": 0.25}
    if name in ("cf-k", "eu-k"):
        counted, passed = counted | {"k": 1}, passed | {"k": 1}
    if name == "unsir":
        counted, passed = counted | {"impair_steps": 4}, passed | {"impair_epochs": 1.0}
    found = []
    for knobs in (counted, passed):
        method = make_method(name, knobs)
        splits = two_pixel_splits(forgotten=5, retained=7)
        splits.train.retain.y[0] = 2
        found.append(method(two_pixels(), splits, stream(0, name)))
    one, two = found
    assert torch.equal(one.weights["head.weight"], two.weights["head.weight"])
    assert one.curve == two.curve


def test_scrub_and_unsir_divide_their_epochs() -> None:
    train = two_pixel_splits(forgotten=100, retained=1000).train
    scrub = Scrub(epochs=2.0, ascending=0.25).sized(train)
    assert (scrub.steps, scrub.msteps) == (32, 8)
    assert Scrub(epochs=1.0, msteps=40).sized(train).msteps == 16
    unsir = Unsir(epochs=2.0, impair_epochs=0.5).sized(train)
    assert (unsir.steps, unsir.impair_steps) == (32, 8)


@pytest.mark.parametrize(
    ("name", "knobs"),
    [
        ("fine-tune", {"epochs": -1.0}),
        ("scrub", {"ascending": 1.5}),
        ("scrub", {"msteps": -1, "epochs": 1.0}),
        ("unsir", {"impair_epochs": -0.5}),
    ],
)
def test_budgets_out_of_range_are_refused(name: str, knobs: dict[str, Any]) -> None:
    with pytest.raises(BadInput):
        make_method(name, knobs)


@pytest.mark.parametrize("name", [name for name, kind in METHODS.items() if kind.epoch_space])
def test_spaces_in_epochs_search_what_the_others_search(name: str) -> None:
    kind = METHODS[name]
    steps = {"steps", "msteps", "impair_steps"}
    budgets = {"epochs", "ascending", "impair_epochs", "tau_norm"}
    assert set(kind.space) - steps == set(kind.epoch_space) - budgets
    for knob, choices in kind.epoch_space.items():
        for choice in choices:
            passes = {"epochs": 1.0} if issubclass(kind, Iterative) else {}
            assert getattr(make_method(name, {**passes, knob: choice}), knob) == choice
