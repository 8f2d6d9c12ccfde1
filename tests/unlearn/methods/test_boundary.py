"""Boundary shrink and expand: their labels and losses by hand."""

from math import log

import pytest
import torch

from tests.unlearn.methods.tiny import two_pixel_splits, two_pixels
from unlearn.methods.boundary_expand import BoundaryExpand, widened
from unlearn.methods.boundary_shrink import BoundaryShrink, nearest_class
from unlearn.streams import globally, stream


def test_the_nearest_class_lies_up_the_gradient() -> None:
    """At (1, 0) the probabilities are .5, .2, .3; a step towards the second pixel favours 1.

    The gradient of CE(x, 0) is W^T (p - e_0): of pixel 2 it is positive, since that pixel speaks
    for class 1; of pixel 1 it is negative.
    """
    model = two_pixels((0.5, 0.2, 0.3), (0.1, 0.8, 0.1))
    x, y = torch.tensor([[[[1.0, 0.0]]]]), torch.tensor([0])
    everything = torch.tensor([0, 1, 2])
    assert nearest_class(model, x, y, everything, 0.01).tolist() == [2]
    assert nearest_class(model, x, y, everything, 0.5).tolist() == [1]
    # (.5, .5): logits (log .5 + log .1, log .2 + log .8, log .3 + log .1) / 2
    assert 0.2 * 0.8 > 0.3 * 0.1
    assert nearest_class(model, x, y, torch.tensor([2]), 0.5).tolist() == [2]  # 1 is forgotten too


def test_shrink_starts_at_the_loss_of_the_nearest_class() -> None:
    """Forgotten (.5, .3, .2): the nearest class is 1, its loss -log .3; retained -log .8."""
    model = two_pixels((0.5, 0.3, 0.2))
    method = BoundaryShrink(epsilon=1e-4, alpha=2.0, steps=1, batch=2)
    curve = method(model, two_pixel_splits(), stream(0, "shrink")).curve
    assert curve["forget"] == pytest.approx([-log(0.3)], rel=1e-5)
    assert curve["retain"] == pytest.approx([-2 * log(0.8)], rel=1e-5)


def test_expand_starts_at_the_loss_of_the_shadow_class() -> None:
    """The logits are log .5, log .25, log .25, whose exponentials sum to 1, and the shadow's s."""
    model, splits = two_pixels(), two_pixel_splits()
    method = BoundaryExpand(alpha=1.0, steps=1, batch=2)
    curve = method(model, splits, stream(0, "expand")).curve
    student = widened(model, splits.train.forget.x[:2].float() / 255, stream(0, "expand"))
    for part, pixels in (("forget", [1.0, 0.0]), ("retain", [0.0, 1.0])):
        with torch.no_grad():
            shadow = student.shadow(torch.tensor([pixels])).double()
        chosen = shadow if part == "forget" else torch.tensor(0.8).double().log()
        expected = float((1 + shadow.exp()).log() - chosen)
        assert curve[part] == pytest.approx([expected], rel=1e-5)


def test_expand_returns_a_network_of_the_original_s_shape() -> None:
    model = two_pixels()
    made = BoundaryExpand(steps=30, batch=2, lr=0.05)(model, two_pixel_splits(), stream(0, "e"))
    assert {k: v.shape for k, v in made.weights.items()} == {
        k: v.shape for k, v in model.state_dict().items()
    }
    pushed = made.weights["head.weight"][:, 0] - model.head.weight[:, 0]
    assert bool((pushed < 0).all())  # every class lost the forgotten pixel to the shadow class


def test_the_shadow_class_is_drawn_from_the_generator() -> None:
    model, x = two_pixels(), two_pixel_splits().train.forget.x[:2].float() / 255
    first, again = (widened(model, x, stream(0, "e")).shadow.weight for _ in range(2))
    with globally(stream(0, "e")):
        expected = torch.nn.Linear(2, 1).weight
    assert torch.equal(first, again)
    assert first.shape == expected.shape
    assert not torch.equal(first, widened(model, x, stream(1, "e")).shadow.weight)
