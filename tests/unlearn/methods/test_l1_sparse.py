"""l1-sparse unlearning: the penalty and its decay by hand, and that weights shrink."""

import pytest
import torch
from torch import Tensor, nn

from tests.unlearn.world import World, apply
from unlearn.methods.l1_sparse import decaying_l1
from unlearn.train import snapshot


def test_the_penalty_and_its_gradient_by_hand() -> None:
    """|-1| + |2| + |0.5| = 3.5; gamma falls from 0.4 by a quarter of it in each of four steps."""
    model = nn.Linear(3, 1, bias=False)
    model.weight.data = torch.tensor([[-1.0, 2.0, 0.5]])
    penalty = decaying_l1(model, gamma=0.4, steps=4)
    for gamma in (0.4, 0.3, 0.2, 0.1):
        model.weight.grad = torch.ones(1, 3)
        assert penalty()["l1"].item() == pytest.approx(3.5 * gamma)
        wanted = [1 - gamma, 1 + gamma, 1 + gamma]
        assert model.weight.grad[0].tolist() == pytest.approx(wanted)


def size(world: World, weights: dict[str, Tensor]) -> float:
    return sum(weights[name].abs().sum().item() for name, _ in world.model.named_parameters())


def test_weights_become_small(one: World) -> None:
    free = apply("l1-sparse", {"gamma": 0.0, "steps": 40}, one)
    held = apply("l1-sparse", {"gamma": 1e-3, "steps": 40}, one)
    assert size(one, held.weights) < 0.9 * size(one, free.weights)
    first = 1e-3 * size(one, snapshot(one.model))
    assert held.curve["l1"][0] == pytest.approx(first, rel=1e-4)
    assert held.curve["l1"][-1] < held.curve["l1"][0] / 10
