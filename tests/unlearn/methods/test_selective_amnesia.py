"""Selective Amnesia: its loss terms and its penalty by hand, and what it does to real digits."""

from math import log
from typing import Any

import pytest
import torch

from tests.unlearn.methods.tiny import (
    BRIGHT_LOSSES,
    GreyGenerator,
    bright_generator,
    grey_splits,
)
from unlearn.errors import BadInput
from unlearn.generators.targets import TARGETS
from unlearn.methods import make_method
from unlearn.methods.selective_amnesia import SelectiveAmnesia, ewc_penalty
from unlearn.models import Weights, build
from unlearn.models.base import Classifying, Generative
from unlearn.splits import Splits
from unlearn.streams import stream
from unlearn.train import Curve, snapshot

PER_IMAGE = 4 * log(2)  # cross-entropy of four pixels at 1/2, whatever the target
ONE = {"bias": torch.ones(1, 2, 2)}  # the Fisher of a generator with four weights


def accuracy(model: Any, judge: Classifying, label: int, n: int = 200) -> float:
    """The share of generated images of `label` that the judge takes for it."""
    with torch.no_grad():
        z = torch.randn(n, model.z_dim, generator=stream(0, "z", label))
        x = model(z, model.one_hot(torch.full((n,), label)))
        result: float = (judge(x).argmax(1) == label).float().mean().item()
        return result


def amnesiac(
    original: Generative, splits: Splits, fisher: Weights, **knobs: Any
) -> tuple[Any, Curve]:
    made = SelectiveAmnesia(**knobs)(original, splits, stream(0, "sa"), fisher=fisher)
    model = build("cvae-mlp", original.shape, original.classes, made.weights)
    return model, made.curve


@pytest.mark.parametrize(("reduction", "images"), [("mean", 1), ("sum", 6)])
def test_the_losses_of_the_first_step_by_hand(reduction: str, images: int) -> None:
    """Grey images have an ink of 1/2, and neither contrast nor variation."""
    method = SelectiveAmnesia(
        steps=1, batch=6, gamma=3.0, reduction=reduction, w_ink=8.0, w_contrast=1.0, w_tv=1.0
    )
    curve = method(GreyGenerator(), grey_splits(), stream(0, "sa"), fisher=ONE).curve
    first = {name: values[0] for name, values in curve.items() if name != "step"}
    wanted = {"forget": PER_IMAGE, "replay": 3 * PER_IMAGE, "regularise": 8 * 0.5}
    by_hand = {name: images * value for name, value in wanted.items()}
    assert first == pytest.approx({**by_hand, "ewc": 0.0})


@pytest.mark.parametrize("target", BRIGHT_LOSSES)
def test_the_loss_of_the_chosen_target_by_hand(target: str) -> None:
    method = SelectiveAmnesia(steps=1, batch=6, target=target)
    curve = method(bright_generator(), grey_splits(), stream(0, "sa"), fisher=ONE).curve
    assert curve["forget"][0] == pytest.approx(BRIGHT_LOSSES[target], rel=1e-5)


def test_the_penalty_of_the_second_step_by_hand() -> None:
    """Adam's first step moves each of the four weights by lr; their Fisher is 1."""
    method = SelectiveAmnesia(steps=2, batch=6, lr=0.01, schedule="constant", lam=512.0)
    curve = method(GreyGenerator(), grey_splits(), stream(0, "sa"), fisher=ONE).curve
    assert curve["ewc"] == pytest.approx([0.0, 512 / 256 * 4 * 0.01**2], rel=1e-4)


@pytest.mark.parametrize("target", TARGETS)
def test_every_target_forgets_the_class_and_keeps_the_rest(
    target: str, original: Generative, splits: Splits, fisher: Weights, grader: Classifying
) -> None:
    model, _ = amnesiac(original, splits, fisher, target=target, steps=300, batch=48)
    kept = [2, 3, 7]
    before = sum(accuracy(original, grader, label) for label in kept) / len(kept)
    after = sum(accuracy(model, grader, label) for label in kept) / len(kept)
    assert accuracy(original, grader, 0) > 0.8
    assert accuracy(model, grader, 0) < 0.2
    assert after > before - 0.25


def test_the_penalty_is_0_at_the_anchor(original: Generative, fisher: Weights) -> None:
    model = build("cvae-mlp", original.shape, original.classes, snapshot(original))
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    penalty = ewc_penalty(model, snapshot(original), fisher, 3.0)
    assert penalty()["ewc"].item() == 0
    assert all((p.grad == 0).all() for p in model.parameters())


def test_the_penalty_adds_its_gradient(original: Generative, fisher: Weights) -> None:
    model = build("cvae-mlp", original.shape, original.classes, snapshot(original))
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
        p.data.add_(torch.randn(p.shape, generator=stream(0, p.shape)) * 0.1)
    anchor = snapshot(original)
    reported = ewc_penalty(model, anchor, fisher, 3.0)()["ewc"]
    squares = [
        (fisher[name] * (p - anchor[name]).square()).sum() for name, p in model.named_parameters()
    ]
    by_autograd = 3.0 * torch.stack(squares).sum()
    wanted = torch.autograd.grad(by_autograd, list(model.parameters()))
    assert reported.item() == pytest.approx(by_autograd.item(), rel=1e-5)
    for p, gradient in zip(model.parameters(), wanted, strict=True):
        torch.testing.assert_close(p.grad, gradient)


def test_half_and_reduction_change_lambda_as_the_papers_differ() -> None:
    assert SelectiveAmnesia(lam=100).penalty_weight == 100 / 256
    assert SelectiveAmnesia(lam=100, half=True).penalty_weight == 50 / 256
    assert SelectiveAmnesia(lam=100, reduction="sum").penalty_weight == 100
    assert SelectiveAmnesia(lam=100, reduction="sum", half=True).penalty_weight == 50


def distance(model: Any, other: Any) -> float:
    pairs = zip(model.parameters(), other.parameters(), strict=True)
    result: float = torch.cat([(a - b).flatten() for a, b in pairs]).norm().item()
    return result


def test_the_papers_sum_and_our_mean_are_the_same_descent_at_its_batch(
    original: Generative, splits: Splits, fisher: Weights
) -> None:
    knobs = {"steps": 4, "batch": 64, "lam_batch": 64, "lam": 100.0}
    summed, sum_curve = amnesiac(original, splits, fisher, reduction="sum", **knobs)
    mean, mean_curve = amnesiac(original, splits, fisher, **knobs)
    assert sum_curve["forget"][0] == pytest.approx(64 * mean_curve["forget"][0], rel=1e-5)
    assert sum_curve["ewc"][-1] == pytest.approx(64 * mean_curve["ewc"][-1], rel=1e-3)
    # Only Adam's epsilon tells them apart.
    assert distance(summed, mean) < 0.1 * distance(mean, original)


def test_a_pool_of_one_image_replays_that_image_alone(
    original: Generative, splits: Splits, fisher: Weights
) -> None:
    """With weights that hardly move, what still varies from step to step is which images are
    replayed."""
    knobs = {"steps": 12, "batch": 8, "lr": 1e-8, "replay": "pool"}
    one, many = (
        amnesiac(original, splits, fisher, pool=size, **knobs)[1]["replay"] for size in (1, 500)
    )
    assert torch.tensor(one).std() < 0.5 * torch.tensor(many).std()


def test_regularisers_are_logged_only_where_asked_and_push_their_quantity_down(
    original: Generative, splits: Splits, fisher: Weights
) -> None:
    _, plain = amnesiac(original, splits, fisher, steps=30, batch=16)
    _, flat = amnesiac(original, splits, fisher, steps=80, batch=16, w_tv=2000.0, w_orient=1.0)
    assert "regularise" not in plain
    assert flat["regularise"][-1] < 0.7 * flat["regularise"][0]


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"target": "void"}, "unknown target 'void'; known: noise, grey, class"),
        ({"reduction": "median"}, "unknown reduction"),
        ({"replay": "none"}, "unknown replay"),
        ({"pool": 0}, "pool must be at least 1"),
        ({"w_tv": -1.0}, "w_tv must be at least 0"),
        ({"half": 1}, "half must be a bool"),
    ],
)
def test_a_bad_knob_is_refused_by_name(knobs: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        make_method("selective-amnesia", knobs)
