"""What the iterative methods share: first losses, steps, the logits of forgotten images."""

from math import log
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.unlearn.methods.tiny import two_pixel_splits, two_pixels
from unlearn.methods import make_method
from unlearn.methods.iterative import logits_with_running_stats
from unlearn.streams import globally, stream

FORGET_CE = log(2)  # -ln 0.5
RETAIN_CE = log(1.25)  # -ln 0.8

FIRST_LOSSES: list[tuple[str, dict[str, Any], dict[str, float]]] = [
    ("fine-tune", {}, {"loss": RETAIN_CE}),
    ("gradient-ascent", {}, {"forget": -FORGET_CE}),
    ("neg-grad-plus", {"beta": 0.9}, {"forget": -0.1 * FORGET_CE, "retain": 0.9 * RETAIN_CE}),
    ("cf-k", {"k": 1}, {"retain": RETAIN_CE}),
    ("random-labels", {"alpha": 2.0}, {"forget": log(4), "retain": 2 * RETAIN_CE}),
    ("salun", {"alpha": 0.5}, {"forget": log(4), "retain": 0.5 * RETAIN_CE}),
]


@pytest.mark.parametrize(("name", "knobs", "wanted"), FIRST_LOSSES)
def test_the_losses_of_the_first_step_by_hand(
    name: str, knobs: dict[str, Any], wanted: dict[str, float]
) -> None:
    """The only retained class is 1: random labels are 1, to which a forgotten image gives 1/4."""
    method = make_method(name, {"steps": 1, "batch": 2, **knobs})
    curve = method(two_pixels(), two_pixel_splits(), stream(0, name)).curve
    assert {key: values[0] for key, values in curve.items() if key != "step"} == pytest.approx(
        wanted
    )


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_step_goes_down_the_loss_at_the_given_rate(optimizer: str) -> None:
    """d CE / d logit = p - y: (-0.5, 0.25, 0.25) on the only lit pixel, uphill for an ascent."""
    model, knobs = two_pixels(), {"steps": 1, "lr": 0.1, "optimizer": optimizer}
    method = make_method("gradient-ascent", knobs)
    after = method(model, two_pixel_splits(), stream(0, "step")).weights["head.weight"]
    moved = after - model.head.weight
    step = [-0.05, 0.025, 0.025] if optimizer == "sgd" else [-0.1, 0.1, 0.1]
    assert moved[:, 0].tolist() == pytest.approx(step, abs=1e-6)
    assert moved[:, 1].tolist() == [0, 0, 0]


def gradient_of_running_stats_logits(train_between: bool) -> Tensor:
    with globally(stream(0, "norms")):
        first = nn.Linear(4, 4)
        model = nn.Sequential(first, nn.BatchNorm1d(4), nn.Linear(4, 3)).train()
    x = torch.randn(8, 4, generator=stream(0, "x"))
    loss = logits_with_running_stats(model, x).square().sum()
    if train_between:
        model(5 + 3 * x)
    (gradient,) = torch.autograd.grad(loss, [first.weight])
    assert model.training
    return gradient


def test_a_pass_that_updates_the_statistics_leaves_an_earlier_gradient_alone() -> None:
    alone = gradient_of_running_stats_logits(train_between=False)
    between = gradient_of_running_stats_logits(train_between=True)
    assert torch.equal(between, alone)


def test_logits_with_running_stats_are_those_of_eval_mode() -> None:
    model = nn.Sequential(nn.BatchNorm1d(2, affine=False, eps=1e-12)).train()
    norm: Any = model[0]
    norm.running_mean.copy_(torch.tensor([1.0, 2.0]))
    norm.running_var.copy_(torch.tensor([4.0, 1.0]))
    logits = logits_with_running_stats(model, torch.tensor([[3.0, 2.0], [1.0, 5.0]]))
    assert logits.flatten().tolist() == pytest.approx([1.0, 0.0, 0.0, 3.0])
    assert norm.running_mean.tolist() == [1.0, 2.0]


def test_a_shared_norm_keeps_its_own_statistics() -> None:
    norm = nn.BatchNorm1d(4)
    model = nn.Sequential(norm, nn.Linear(4, 4), norm).train()
    own = norm.running_mean
    logits_with_running_stats(model, torch.randn(8, 4))
    assert norm.running_mean is own
