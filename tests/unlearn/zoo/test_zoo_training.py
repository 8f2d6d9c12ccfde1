"""Training of every network of the zoo: what is no weight stays, what is one moves."""

from typing import Any

import pytest
import torch
from torch import nn

from tests.unlearn.zoo import classifiers, generators
from tests.unlearn.zoo.worlds import DATASET, network, same, zoo
from unlearn.errors import NotFinite
from unlearn.norms import batch_norms
from unlearn.streams import stream
from unlearn.train import Training, fit

KINDS = [
    *(("classifiers", name) for name in classifiers.WORKING),
    *(("generators", name) for name in generators.WORKING),
]
AVERAGED = Training(steps=3, batch=8, lr=1e-2, ema=0.5)
NORMED = ("own norm", "sync norm", "instance norm", "in place")
pytestmark = pytest.mark.filterwarnings("ignore:`torch.nn.utils.weight_norm` is deprecated")


@pytest.mark.parametrize(("kind", "name"), KINDS)
def test_an_average_of_weights_keeps_constants(kind: str, name: str) -> None:
    model = network(kind, name)
    weights, _ = fit(model, DATASET.train, AVERAGED, stream(0, "fit"))
    state = model.state_dict()
    moved = [part for part in state if not same(state[part], weights[part])]
    frozen = {part for part, p in model.named_parameters() if not p.requires_grad}
    assert moved
    assert not frozen & set(moved)
    assert not {"net.mask", "mask", "net.filter"} & set(moved)
    model.load_state_dict(weights)
    head: Any = model.head if kind == "classifiers" else model.spread
    assert all(torch.isfinite(p).all() for p in head.parameters())


@pytest.mark.parametrize("name", NORMED)
def test_an_expert_may_keep_the_originals_statistics(name: str) -> None:
    model = zoo("classifiers", name).model
    assert len(batch_norms(model)) == 1
    statistics = ("running_mean", "running_var")
    for steady in (True, False):
        weights, _ = fit(model, DATASET.train, AVERAGED, stream(0, "fit"), steady=steady)
        for part, tensor in model.state_dict().items():
            if part.endswith(statistics):
                assert torch.equal(weights[part], tensor) == steady


def test_statistics_that_become_infinite_are_still_seen() -> None:
    model = zoo("classifiers", "own norm").model
    loud = network("classifiers", "own norm")
    loud.load_state_dict(model.state_dict())
    nn.init.constant_(loud.net[0].weight, 1e30)
    with pytest.raises(NotFinite, match=r"not finite after training|is nan|is inf"):
        fit(loud, DATASET.train, Training(steps=1, batch=8, lr=1e-9), stream(0, "fit"))
