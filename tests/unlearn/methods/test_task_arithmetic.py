"""The (alpha, rho) engine: the same bits as the method, and nothing left behind between candidates."""

import copy
from itertools import pairwise, product
from typing import Any

import pytest
import torch
from torch import nn

from tests.unlearn.world import World
from unlearn.methods import make_method
from unlearn.methods.task_arithmetic import CandidateWriter, TaskVector
from unlearn.models import build
from unlearn.streams import globally, stream
from unlearn.train import snapshot

CANDIDATES = list(product((-3.0, -1.0, 0.0, 0.7, 1.0), (0.0, 0.5, 0.629, 0.99, 1.0)))


def test_every_candidate_has_the_bits_of_the_method(one: World) -> None:
    vector = TaskVector(one.model, one.experts[0])
    writer, before = CandidateWriter(one.model, vector, one.few), snapshot(one.model)
    for alpha, rho in CANDIDATES:
        method = make_method("task-arithmetic", {"alpha": alpha, "rho": rho})
        wanted = method(one.model, one.splits, stream(0, ""), expert=vector).weights
        got = writer.operate(alpha, rho).state_dict()
        assert all(torch.equal(got[key], tensor) for key, tensor in wanted.items()), (alpha, rho)
    assert all(torch.equal(one.model.state_dict()[key], tensor) for key, tensor in before.items())


def test_alpha_0_is_the_original_and_alpha_1_rho_0_the_expert(one: World) -> None:
    writer = CandidateWriter(one.model, TaskVector(one.model, one.experts[0]), one.few)
    writer.operate(-2.0, 0.3)
    for key, tensor in one.model.state_dict().items():
        assert torch.equal(writer.operate(0.0, 0.3).state_dict()[key], tensor)
    for name, p in writer.operate(1.0, 0.0).named_parameters():
        torch.testing.assert_close(p.data, one.experts[0][name], rtol=0, atol=1e-6)


def test_it_is_one_model_all_along_and_its_statistics_come_back(one: World) -> None:
    writer = CandidateWriter(one.model, TaskVector(one.model, one.experts[0]), one.few)
    model: Any = writer.operate(-1.0, 0.5)
    addresses = [p.data_ptr() for p in model.parameters()]
    model.norm1.running_mean += 1
    moved: Any = writer.operate(-2.0, 0.9)
    assert moved is model
    assert [p.data_ptr() for p in model.parameters()] == addresses
    assert torch.equal(model.norm1.running_mean, one.model.norm1.running_mean)
    assert model.norm1.running_mean.data_ptr() != one.model.norm1.running_mean.data_ptr()


class Keeper(nn.Linear):
    """Keeps what it makes of its weights in eval mode until it is trained again, as timm's LeViT its biases."""

    kept: torch.Tensor | None = None

    def train(self, mode: bool = True) -> "Keeper":
        self.kept = None if mode else self.kept
        return super().train(mode)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.kept is None:
            self.kept = self.weight.T.clone()
        return x @ self.kept


def test_a_network_that_keeps_something_of_its_weights_lets_go_of_it() -> None:
    original, x = Keeper(3, 2), torch.eye(3)
    writer = CandidateWriter(original, TaskVector(original, Keeper(3, 2).state_dict()), x)
    for alpha in (-1.0, -2.0):
        model = writer.operate(alpha, 0.0)
        with torch.no_grad():
            assert torch.equal(model(x), model.get_parameter("weight").T)
        assert not model.training


def test_the_cut_lies_just_below_the_quantile() -> None:
    model, expert = nn.Linear(3, 1, bias=False), {"weight": torch.zeros(1, 3)}
    model.weight.data = torch.tensor([[-1.0, 2.0, -2.0]])
    vector = TaskVector(model, expert)
    kept = {
        rho: int((vector.tau["weight"].abs() > vector.cuts(rho)["weight"]).sum())
        for rho in (0.0, 0.5, 1.0)
    }
    assert kept == {0.0: 3, 0.5: 2, 1.0: 2}  # ties at the threshold all stay
    slow = torch.quantile(vector.tau["weight"].abs(), 0.5)
    assert vector.threshold("weight", 0.5) == slow


def test_the_mask_shrinks_as_rho_grows(one: World) -> None:
    vector = TaskVector(one.model, one.experts[0])
    for name in vector.tau:
        kept = [vector.masked(name, rho) != 0 for rho in (0.0, 0.3, 0.6, 0.9, 1.0)]
        assert all((wide | ~narrow).all() for wide, narrow in pairwise(kept))


def test_statistics_measured_anew_belong_to_the_new_weights(one: World) -> None:
    vector = TaskVector(one.model, one.experts[0])
    made = {}
    for switch in (False, True):
        method = make_method("task-arithmetic", {"alpha": -1.5, "rho": 0.5, "recalibrate": switch})
        made[switch] = method(one.model, one.splits, stream(0, "ta"), expert=vector).weights
    parameters = dict(one.model.named_parameters())
    assert all(torch.equal(made[True][name], made[False][name]) for name in parameters)
    assert torch.equal(made[False]["norm1.running_mean"], one.model.norm1.running_mean)
    seen = one.load(made[True]).conv1(one.splits.train.retain.pixels()).mean((0, 2, 3))
    torch.testing.assert_close(made[True]["norm1.running_mean"], seen, rtol=0.1, atol=0.02)


@pytest.mark.parametrize("name", ["mobilenet_v2"])
def test_it_works_on_networks_with_counters_among_their_buffers(name: str) -> None:
    with globally(stream(0, name)):
        original, other = build(name, (3, 32, 32), 10), build(name, (3, 32, 32), 10)
    writer = CandidateWriter(
        original, TaskVector(original, other.state_dict()), torch.rand(2, 3, 32, 32)
    )
    made = copy.deepcopy(writer.operate(-1.0, 0.9).state_dict())
    assert set(made) == set(original.state_dict())
    assert all(torch.isfinite(tensor.float()).all() for tensor in made.values())
    assert torch.equal(writer.operate(-1.0, 0.9).state_dict()["head.weight"], made["head.weight"])
