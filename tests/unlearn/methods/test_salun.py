"""SalUn: which weights are salient, and that no other moves."""

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tests.unlearn.methods.tiny import two_pixel_splits, two_pixels
from tests.unlearn.world import World, apply
from unlearn.methods import make_method
from unlearn.methods.salun import saliency_masks
from unlearn.models import build
from unlearn.streams import stream
from unlearn.train import snapshot

SALIENT = [(0.0, 3), (0.5, 3), (0.6, 3), (0.67, 2), (0.84, 1)]  # by sparsity


@pytest.mark.parametrize(("sparsity", "salient"), SALIENT)
def test_saliency_by_hand(sparsity: float, salient: int) -> None:
    """The six gradients are 0, 0, 0, and p - y: -0.5, 0.3, 0.2, of which 0 is never salient."""
    model = two_pixels(forgotten=(0.5, 0.3, 0.2))
    masks = saliency_masks(model, two_pixel_splits().train.forget, sparsity)
    by_size = [(0, 0), (1, 0), (2, 0)]
    marked = [bool(masks["head.weight"][place]) for place in by_size]
    assert marked[:salient] == [True] * salient
    assert int(masks["head.weight"].sum()) == salient


def test_the_one_salient_weight_moves_by_hand() -> None:
    """At sparsity 0.84 that is the one whose gradient is -0.5."""
    model = two_pixels(forgotten=(0.5, 0.3, 0.2))
    method = make_method("salun", {"sparsity": 0.84, "steps": 1})
    after = method(model, two_pixel_splits(), stream(0, "salun")).weights["head.weight"]
    assert (after != model.head.weight).nonzero().tolist() == [[0, 0]]


def test_only_salient_weights_move(one: World) -> None:
    masks = saliency_masks(one.model, one.splits.train.forget, 0.9)
    marked = sum(int(mask.sum()) for mask in masks.values())
    assert marked / sum(mask.numel() for mask in masks.values()) == pytest.approx(0.1, abs=1e-3)
    before = snapshot(one.model)
    after = apply("salun", {"sparsity": 0.9, "steps": 5}, one).weights
    for key, mask in masks.items():
        assert torch.equal(before[key][~mask], after[key][~mask])
    assert any(not torch.equal(before[key][mask], after[key][mask]) for key, mask in masks.items())


def network_with_idle_weights() -> Any:
    """A network with a frozen head and a layer that nothing is read from."""
    model = build("tests.unlearn.models.own_models:sharing", (1, 28, 28), 10)
    model.net.spare = nn.Identity()
    model.spare = nn.Linear(3, 3)
    model.head.requires_grad_(False)
    return model


def test_a_weight_without_a_gradient_is_not_salient(one: World) -> None:
    """However low the sparsity: that of a pixel that is never inked, of a layer that is frozen or
    that nothing is read from."""
    model, images = network_with_idle_weights(), one.splits.train.forget
    masks = saliency_masks(model, images, 0.1)
    blank = (images.x == 0).flatten(1).all(0)
    assert blank.double().mean() > 0.1
    assert not masks["net.1.weight"][:, blank].any()
    assert masks["net.1.weight"][:, ~blank].double().mean() > 0.5
    assert not masks["spare.weight"].any()
    after = make_method("salun", {"steps": 2})(model, one.splits, stream(0, "")).weights
    assert torch.equal(after["head.weight"], model.head.weight)
    assert torch.equal(after["net.1.weight"][:, blank], model.net[1].weight[:, blank])


def test_saliency_is_the_gradient_of_the_whole_loss(one: World) -> None:
    images = one.splits.train.forget
    loss = F.cross_entropy(one.model(images.pixels()), images.y)
    gradients = torch.autograd.grad(loss, list(one.model.parameters()))
    magnitudes = torch.cat([g.abs().flatten() for g in gradients])
    slow = magnitudes >= magnitudes.sort().values[int(0.5 * len(magnitudes))]
    masks = saliency_masks(one.model, images, 0.5, batch=64)
    fast = torch.cat([mask.flatten() for mask in masks.values()])
    assert (slow == fast).double().mean() > 0.999
