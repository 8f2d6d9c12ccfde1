"""A fresh network of every kind holds nothing of the trained one."""

import copy
from typing import Any

import pytest
import torch
from torch import nn

from tests.unlearn.zoo import classifiers, generators
from tests.unlearn.zoo.worlds import SHAPE, images, network, same, zoo
from unlearn.errors import BadInput
from unlearn.models.fresh import fresh
from unlearn.streams import stream
from unlearn.train import Training, fit

KINDS = [
    *(("classifiers", name) for name in classifiers.WORKING),
    *(("generators", name) for name in generators.WORKING),
]
pytestmark = pytest.mark.filterwarnings("ignore:`torch.nn.utils.weight_norm` is deprecated")
ONLY_BUILT = ("infinite mask", "complex", "orthogonal")  # have buffers that only a builder can make


def other_training(kind: str, name: str) -> Any:
    """The same architecture, trained from other weights on other images."""
    model = network(kind, name, seed=9)
    plan = Training(steps=3, batch=8, lr=3e-2, schedule="constant")
    model.load_state_dict(fit(model, images(24, "other"), plan, stream(9, "fit"))[0])
    return model


def assert_same_state(one: nn.Module, other: nn.Module) -> None:
    pairs = zip(one.state_dict().items(), other.state_dict().values(), strict=True)
    assert [name for (name, tensor), twin in pairs if not same(tensor, twin)] == []


def assert_nothing_kept(made: nn.Module, model: nn.Module) -> None:
    """No trainable matrix equals the model's, but those that begin as constants."""
    own = dict(model.named_parameters())
    for name, p in made.named_parameters():
        if p.requires_grad and p.dim() > 1 and len(p.unique()) > 2:
            assert not torch.equal(p, own[name]), name


@pytest.mark.parametrize(("kind", "name"), KINDS)
def test_it_follows_from_architecture_and_stream_alone(kind: str, name: str) -> None:
    """Two trained networks of one architecture give one fresh network, bit by bit."""
    model, other = zoo(kind, name).model, other_training(kind, name)
    made = fresh(model, stream(0, "fresh"))
    assert_same_state(made, fresh(other, stream(0, "fresh")))
    assert_nothing_kept(made, model)
    assert not made.training
    frozen = {part for part, p in model.named_parameters() if not p.requires_grad}
    assert {part for part, p in made.named_parameters() if not p.requires_grad} == frozen


@pytest.mark.parametrize(("kind", "name"), KINDS)
def test_without_a_builder_it_is_drawn_in_place_or_refused(kind: str, name: str) -> None:
    model, other = copy.deepcopy(zoo(kind, name).model), other_training(kind, name)
    model.architecture = other.architecture = None
    if name in ONLY_BUILT:
        with pytest.raises(BadInput, match="no reset_parameters sets"):
            fresh(model, stream(0, "fresh"))
        return
    made = fresh(model, stream(0, "fresh"))
    again = fresh(other, stream(0, "fresh"))
    assert_same_state(made, again)
    assert_nothing_kept(made, model)


@pytest.mark.parametrize("name", ["spectral norm", "spectral norm, new"])
def test_the_vectors_of_a_spectral_norm_fit_the_fresh_weights(name: str) -> None:
    """The largest singular value of the normalised weight is 1, up to 15 power iterations."""
    model = zoo("classifiers", name).model
    for built in (True, False):
        start = copy.deepcopy(model)
        start.architecture = model.architecture if built else None
        made: Any = fresh(start, stream(0, "fresh"))
        made(torch.rand(2, *SHAPE))
        largest = torch.linalg.matrix_norm(made.net[1].weight, 2).item()
        assert 1 <= largest < 1.1


def test_a_builder_that_loads_trained_weights_gives_drawn_ones() -> None:
    model = zoo("classifiers", "starts trained").model
    made = fresh(model, stream(0, "fresh")).net[1].weight
    assert torch.corrcoef(torch.stack([made.flatten(), classifiers.TRAINED.flatten()]))[0, 1] < 0.2


def test_what_a_builder_freezes_stays_as_the_builder_makes_it() -> None:
    made = fresh(zoo("classifiers", "half trained").model, stream(0, "fresh"))
    frozen, drawn = made.net[1].weight, made.net[2].weight
    assert torch.equal(frozen, classifiers.TRAINED)
    assert not frozen.requires_grad
    assert not torch.equal(drawn, classifiers.TRAINED[:, : classifiers.WIDTH])
    assert drawn.requires_grad


def test_a_pruned_network_is_cut_elsewhere_and_as_much() -> None:
    model = copy.deepcopy(zoo("classifiers", "pruned").model)
    model.architecture = None
    mask, old = fresh(model, stream(0, "m")).net[1].weight_mask, model.net[1].weight_mask
    assert mask.sum() == old.sum()
    assert not torch.equal(mask, old)


def test_torchvisions_networks_start_as_torchvision_starts_them() -> None:
    """Kaiming's normal weights: deviation sqrt(2 / (9 x 64)) in a 3 x 3 convolution."""
    from unlearn.models import build

    model = build("resnet18", (3, 8, 8), 10)
    made = fresh(model, stream(0, "fresh")).net.layer1[0].conv1.weight
    assert made.std().item() == pytest.approx((2 / (9 * 64)) ** 0.5, rel=0.02)


class Remembering(nn.Module):
    """A buffer of training that nothing resets."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(4, 4)
        self.register_buffer("prototypes", torch.rand(3, 4))
        self.register_buffer("kept", torch.tensor([True, False]))


def test_a_buffer_that_nothing_resets_is_named() -> None:
    with pytest.raises(BadInput, match="no reset_parameters sets prototypes, kept; give that"):
        fresh(Remembering(), stream(0, "fresh"))
