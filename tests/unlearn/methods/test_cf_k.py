"""CF-k: which layers are the last k, and that no other moves."""

import pytest
import torch
from torch import nn

from tests.unlearn.world import World, apply, network
from unlearn.errors import BadInput
from unlearn.methods.cf_k import freeze_all_but, layer_groups
from unlearn.models import build
from unlearn.models.base import Classifying
from unlearn.train import snapshot


def test_only_the_last_k_layers_move(one: World) -> None:
    before = snapshot(one.model)
    after = apply("cf-k", {"k": 1, "steps": 5}, one).weights
    moved = {key for key in before if not torch.equal(before[key], after[key])}
    assert moved == {"head.weight", "head.bias"}


def test_more_layers_than_the_model_has_are_refused(one: World) -> None:
    with pytest.raises(BadInput, match="k is 9, but the model has 4 layers; choose k from 1 to 4"):
        apply("cf-k", {"k": 9, "steps": 5}, one)


def test_norms_belong_to_the_layer_before_them() -> None:
    model = network()
    assert layer_groups(model) == [
        [model.conv1, model.norm1],
        [model.conv2, model.norm2],
        [model.hidden],
        [model.head],
    ]


class HeadFirst(Classifying):
    """Defines its head before its body."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, 2)
        self.body = nn.Linear(4, 3)


def test_the_head_is_the_last_layer_even_where_it_is_defined_first() -> None:
    model = HeadFirst()
    assert layer_groups(model) == [[model.body], [model.head]]


def test_frozen_norms_keep_their_statistics_and_trained_ones_do_not() -> None:
    model = network().train()
    freeze_all_but(model, 3)
    assert not model.norm1.training
    assert not model.norm1.weight.requires_grad
    assert model.norm2.training
    assert model.norm2.weight.requires_grad
    assert not model.training


@pytest.mark.parametrize("name", ["resnet18", "vgg11_bn", "mobilenet_v2"])
def test_the_head_is_the_last_layer_of_every_network(name: str) -> None:
    model = build(name, (3, 32, 32), 10)
    groups = layer_groups(model)
    assert groups[-1] == [model.head]
    owners = [layer for layer in model.modules() if list(layer.parameters(recurse=False))]
    assert sum(map(len, groups)) == len(owners)
