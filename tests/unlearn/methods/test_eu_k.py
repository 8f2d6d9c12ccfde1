"""EU-k: the last layers are drawn anew, the others keep their bits."""

import copy

import torch

from tests.unlearn.world import network
from unlearn.methods.cf_k import last_groups
from unlearn.methods.eu_k import EUk, redraw
from unlearn.models.fresh import fresh
from unlearn.splits import Dataset
from unlearn.streams import stream


def test_the_last_layers_are_another_network_s() -> None:
    model = network()
    other = fresh(model, stream(0, "other"))
    student = copy.deepcopy(model)
    redraw(student, other, 2)
    for name, tensor in student.state_dict().items():
        source = other if name.startswith(("hidden", "head")) else model
        assert torch.equal(tensor, source.state_dict()[name]), name


def test_norms_of_a_redrawn_layer_lose_their_statistics() -> None:
    model = network()
    model.norm2.running_mean.fill_(7.0)
    model.norm1.running_mean.fill_(7.0)
    redraw(model, fresh(model, stream(0, "other")), 3)
    assert len(last_groups(model, 3)[0]) == 2  # conv2 and norm2
    assert set(model.norm2.running_mean.tolist()) == {0.0}
    assert set(model.norm1.running_mean.tolist()) == {7.0}


def test_nothing_of_the_original_s_last_layers_matters(digits: Dataset) -> None:
    """Two originals that differ in the head alone end at the same weights."""
    splits = digits.split((3,))
    first, second = network(), network()
    second.head.weight.data += 1.0
    method = EUk(k=1, steps=2, batch=16)
    one, two = (method(model, splits, stream(0, "eu")).weights for model in (first, second))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert torch.equal(one["conv1.weight"], first.conv1.weight)
