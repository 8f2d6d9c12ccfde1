"""Selective synaptic dampening: the rule by hand, and which Fisher is which."""

import pytest
import torch
from torch.nn import functional as F

from tests.unlearn.methods.tiny import two_pixel_splits, two_pixels
from tests.unlearn.world import World
from unlearn.fisher.classifiers import classifier_fisher
from unlearn.methods import make_method
from unlearn.methods.ssd import dampen
from unlearn.streams import stream


def test_dampening_by_hand() -> None:
    theta = torch.tensor([2.0, 2.0, 2.0, 2.0])
    f_all = torch.tensor([1.0, 1.0, 0.0, 1.0])
    f_forget = torch.tensor([20.0, 5.0, 1.0, 0.0])
    weak = dampen(theta, f_forget, f_all, alpha=10.0, lam=1.0)
    assert weak.tolist() == pytest.approx([0.1, 2.0, 0.0, 2.0])
    never_grown = dampen(theta, f_forget, f_all, alpha=10.0, lam=100.0)
    assert never_grown.tolist() == [2.0, 2.0, 0.0, 2.0]


@pytest.mark.parametrize(("alpha", "share"), [(1.9, 0.25), (2.1, 1.0)])
def test_weights_that_only_forgotten_images_use_are_dampened(alpha: float, share: float) -> None:
    """Half of the images are forgotten and they alone light the first pixel, so that F_f / F is 2
    there: with lam = 0.5 beta is 0.25."""
    model = two_pixels()
    method = make_method("ssd", {"alpha": alpha, "lam": 0.5, "samples": 4})
    after = method(model, two_pixel_splits(), stream(0, "ssd")).weights["head.weight"]
    torch.testing.assert_close(after[:, 0], share * model.head.weight[:, 0])
    assert torch.equal(after[:, 1], model.head.weight[:, 1])


def test_the_fisher_is_the_mean_of_squared_gradients(one: World) -> None:
    images = one.splits.train.retain.take(torch.arange(12))
    fisher = classifier_fisher(one.model, images, 12, stream(0, "fisher"))
    slow = {name: torch.zeros_like(p) for name, p in one.model.named_parameters()}
    for i in range(12):
        image = images.take(torch.tensor([i]))
        loss = F.cross_entropy(one.model(image.pixels()), image.y)
        gradients = torch.autograd.grad(loss, list(one.model.parameters()))
        for name, gradient in zip(slow, gradients, strict=True):
            slow[name] += gradient.square() / 12
    for name in slow:
        torch.testing.assert_close(fisher[name], slow[name], rtol=1e-4, atol=1e-8)
