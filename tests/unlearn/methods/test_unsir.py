"""UNSIR: its noise by a closed form, its two stages by their curves."""

from math import log

import pytest
import torch
import torch.nn.functional as F

from tests.unlearn.methods.tiny import two_pixel_splits, two_pixels
from unlearn.methods.unsir import Unsir, maximise_loss
from unlearn.streams import stream


def test_the_noise_takes_one_step_of_adam_against_the_sign_of_its_gradient() -> None:
    """At N = .5 it is penalty * 2 N - (p - e_0) W, per image; Adam's first step is its rate."""
    model = two_pixels()
    grey = torch.full((3, 1, 1, 2), 0.5)
    labels = torch.zeros(3, dtype=torch.long)
    found = maximise_loss(model, grey, labels, 1, 0.1)
    weight = model.head.weight.detach()
    p = (weight @ torch.tensor([0.5, 0.5])).softmax(0)
    slope = 0.1 * 2 * 0.5 - (p - torch.tensor([1.0, 0.0, 0.0])) @ weight
    expected = 0.5 - 0.1 * slope.sign()
    torch.testing.assert_close(found.view(3, 2), expected.expand(3, 2), rtol=1e-4, atol=1e-4)
    assert bool((grey == 0.5).all())


def test_the_noise_raises_the_loss_of_its_class_and_a_penalty_bounds_it() -> None:
    model = two_pixels()
    start = torch.rand(4, 1, 1, 2, generator=stream(0, "noise"))
    labels = torch.zeros(4, dtype=torch.long)
    free, held = (maximise_loss(model, start, labels, 80, penalty) for penalty in (0.0, 10.0))
    with torch.no_grad():
        before, after = (float(F.cross_entropy(model(x), labels)) for x in (start, free))
    assert after > before + 0.2
    assert 0 <= free.min() < free.max() <= 1
    assert held.square().sum() < free.square().sum()


def test_impair_and_repair_stand_one_after_the_other_in_the_curve() -> None:
    method = Unsir(batch=2, noise_steps=3, impair_steps=2, steps=3, lr=1e-9)
    curve = method(two_pixels(), two_pixel_splits(), stream(0, "unsir")).curve
    assert curve["step"] == [1.0, 2.0, 3.0, 4.0, 5.0]
    assert curve["retain"] == pytest.approx([0.0, 0.0, *[-log(0.8)] * 3], rel=1e-5)
    assert min(curve["impair"][:2]) > 0
    assert curve["impair"][2:] == [0.0] * 3


def test_no_forgotten_image_is_read() -> None:
    splits = two_pixel_splits()
    method = Unsir(batch=2, noise_steps=3, impair_steps=2, steps=2)
    first = method(two_pixels(), splits, stream(0, "unsir")).weights
    splits.train.forget.x.fill_(77)
    second = method(two_pixels(), splits, stream(0, "unsir")).weights
    assert torch.equal(first["head.weight"], second["head.weight"])
