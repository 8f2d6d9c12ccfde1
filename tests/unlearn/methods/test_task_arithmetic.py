"""Task arithmetic: the mask by hand, and a writer whose candidates have the bits of the method."""

import copy
from itertools import pairwise, product
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.unlearn.world import World
from unlearn.methods import make_method
from unlearn.methods.task_arithmetic import TaskArithmetic
from unlearn.methods.task_vector import CandidateWriter, TaskVector
from unlearn.models import build
from unlearn.norms import recalibrate
from unlearn.splits import Images, Split, Splits
from unlearn.streams import globally, stream
from unlearn.train import snapshot

CANDIDATES = list(product((-3.0, -1.0, 0.0, 0.7, 1.0), (0.0, 0.5, 0.629, 0.99, 1.0)))
UNREAD = Split(Images(torch.empty(0), torch.empty(0)), Images(torch.empty(0), torch.empty(0)))
NO_SPLITS = Splits(UNREAD, UNREAD, UNREAD)  # plain task arithmetic reads no images


def linear(*weights: float) -> nn.Linear:
    model = nn.Linear(len(weights), 1, bias=False)
    model.weight.data = torch.tensor([weights])
    return model


def vector_of(*tau: float) -> TaskVector:
    return TaskVector(linear(*[0.0] * len(tau)), {"weight": torch.tensor([tau])})


@pytest.mark.parametrize(
    ("rho", "threshold"), [(0.0, 1.0), (0.5, 2.5), (0.75, 3.25), (0.9, 3.7), (1.0, 4.0)]
)
def test_the_threshold_is_linear_between_order_statistics(rho: float, threshold: float) -> None:
    """|tau| is 1, 2, 3, 4: its rho-quantile is 1 + 3 rho."""
    vector = vector_of(3.0, -1.0, 4.0, -2.0)
    assert vector.threshold("weight", rho).item() == pytest.approx(threshold)
    assert torch.quantile(vector.tau["weight"].abs(), rho).item() == pytest.approx(threshold)


def test_an_entry_between_the_lower_order_statistic_and_the_quantile_is_masked() -> None:
    """At rho = 0.5 the quantile is 2.5, the lower order statistic 2."""
    vector = vector_of(3.0, -1.0, 4.0, -2.0)
    assert vector.masked("weight", 0.5).tolist() == [[3.0, 0.0, 4.0, 0.0]]


def test_the_method_by_hand() -> None:
    """tau = (3, -1, 4, -2), of which 3 and 4 stay at rho = 0.5."""
    original = linear(10.0, 20.0, 30.0, 40.0)
    vector = TaskVector(original, {"weight": torch.tensor([[13.0, 19.0, 34.0, 38.0]])})
    method = make_method("task-arithmetic", {"alpha": -2.0, "rho": 0.5})
    made = method(original, NO_SPLITS, stream(0, ""), expert=vector).weights
    assert made["weight"].tolist() == [[4.0, 20.0, 22.0, 40.0]]


def test_ties_at_the_threshold_all_stay() -> None:
    vector = vector_of(1.0, -2.0, 2.0)
    tau = vector.tau["weight"]
    kept = {}
    for rho in (0.0, 0.5, 1.0):
        cutoff = vector.cutoffs(rho)["weight"]
        kept[rho] = int((tau.abs() > cutoff).sum())
        assert torch.equal(tau.abs() > cutoff, vector.masked("weight", rho) != 0)
    assert kept == {0.0: 3, 0.5: 2, 1.0: 2}
    assert vector.threshold("weight", 0.5) == torch.quantile(tau.abs(), 0.5)


def test_the_mask_shrinks_as_rho_grows(one: World) -> None:
    vector = TaskVector(one.model, one.experts[0])
    for name in vector.tau:
        kept = [vector.masked(name, rho) != 0 for rho in (0.0, 0.3, 0.6, 0.9, 1.0)]
        assert all((wide | ~narrow).all() for wide, narrow in pairwise(kept))


def test_every_candidate_has_the_bits_of_the_method(one: World) -> None:
    vector = TaskVector(one.model, one.experts[0])
    writer, before = CandidateWriter(one.model, vector, one.few), snapshot(one.model)
    for alpha, rho in CANDIDATES:
        method = make_method("task-arithmetic", {"alpha": alpha, "rho": rho})
        wanted = method(one.model, one.splits, stream(0, ""), expert=vector).weights
        got = writer.write(alpha, rho).state_dict()
        assert all(torch.equal(got[key], tensor) for key, tensor in wanted.items()), (alpha, rho)
    assert all(torch.equal(one.model.state_dict()[key], tensor) for key, tensor in before.items())


def test_alpha_0_is_the_original_and_alpha_1_rho_0_the_expert(one: World) -> None:
    writer = CandidateWriter(one.model, TaskVector(one.model, one.experts[0]), one.few)
    writer.write(-2.0, 0.3)
    for key, tensor in one.model.state_dict().items():
        assert torch.equal(writer.write(0.0, 0.3).state_dict()[key], tensor)
    for name, p in writer.write(1.0, 0.0).named_parameters():
        torch.testing.assert_close(p.data, one.experts[0][name], rtol=0, atol=1e-6)


def test_all_candidates_share_one_model_and_its_statistics_come_back(one: World) -> None:
    writer = CandidateWriter(one.model, TaskVector(one.model, one.experts[0]), one.few)
    model: Any = writer.write(-1.0, 0.5)
    addresses = [p.data_ptr() for p in model.parameters()]
    model.norm1.running_mean += 1
    again: Any = writer.write(-2.0, 0.9)
    assert again is model
    assert [p.data_ptr() for p in model.parameters()] == addresses
    assert torch.equal(model.norm1.running_mean, one.model.norm1.running_mean)
    assert model.norm1.running_mean.data_ptr() != one.model.norm1.running_mean.data_ptr()


class CachingLinear(nn.Linear):
    """Caches its transposed weight in eval mode until it is trained again, as timm's LeViT its
    biases."""

    cache: Tensor | None = None

    def train(self, mode: bool = True) -> "CachingLinear":
        self.cache = None if mode else self.cache
        return super().train(mode)

    def forward(self, x: Tensor) -> Tensor:
        if self.cache is None:
            self.cache = self.weight.T.clone()
        return x @ self.cache


def test_a_network_drops_what_it_caches_of_its_weights() -> None:
    original, x = CachingLinear(3, 2), torch.eye(3)
    vector = TaskVector(original, CachingLinear(3, 2).state_dict())
    writer = CandidateWriter(original, vector, x)
    for alpha in (-1.0, -2.0):
        model = writer.write(alpha, 0.0)
        with torch.no_grad():
            assert torch.equal(model(x), model.get_parameter("weight").T)
        assert not model.training


@pytest.mark.parametrize("recalibrated", [False, True])
def test_a_written_candidate_answers_as_the_weights_of_the_method(
    recalibrated: bool, one: World
) -> None:
    vector = TaskVector(one.model, one.experts[0])
    writer = CandidateWriter(one.model, vector, one.few)
    method = TaskArithmetic(alpha=-1.5, rho=0.5, recalibrate=recalibrated)
    weights = method(one.model, one.splits, stream(0, "ta"), expert=vector).weights
    candidate = method.write_candidate(writer, one.splits, stream(0, "ta"))
    with torch.no_grad():
        wanted = one.load(weights)(one.few)
        torch.testing.assert_close(candidate(one.few), wanted, rtol=1e-3, atol=1e-3)


def test_recalibrated_statistics_belong_to_the_new_weights(one: World) -> None:
    vector = TaskVector(one.model, one.experts[0])
    made = {}
    for recalibrated in (False, True):
        knobs = {"alpha": -1.5, "rho": 0.5, "recalibrate": recalibrated}
        method = make_method("task-arithmetic", knobs)
        made[recalibrated] = method(one.model, one.splits, stream(0, "ta"), expert=vector).weights
    parameters = dict(one.model.named_parameters())
    assert all(torch.equal(made[True][name], made[False][name]) for name in parameters)
    assert torch.equal(made[False]["norm1.running_mean"], one.model.norm1.running_mean)
    seen = one.load(made[True]).conv1(one.splits.train.retain.pixels()).mean((0, 2, 3))
    torch.testing.assert_close(made[True]["norm1.running_mean"], seen, rtol=0.1, atol=0.02)
    by_hand = one.load(made[False])
    recalibrate(by_hand, one.splits.train.retain, stream(0, "ta"))
    assert all(torch.equal(made[True][key], by_hand.state_dict()[key]) for key in made[True])


def test_recalibrated_statistics_are_those_of_the_images(one: World) -> None:
    model = copy.deepcopy(one.model)
    images = one.splits.train.retain
    recalibrate(model, images, stream(0, "norms"), batch=len(images), batches=1)
    seen = one.model.conv1(images.pixels())
    torch.testing.assert_close(model.norm1.running_mean, seen.mean((0, 2, 3)), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(model.norm1.running_var, seen.var((0, 2, 3)), rtol=1e-4, atol=1e-5)
    assert model.norm1.momentum == one.model.norm1.momentum
    assert not model.norm1.training
    pairs = zip(model.parameters(), one.model.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("name", ["mobilenet_v2"])
def test_the_writer_takes_networks_with_counters_among_their_buffers(name: str) -> None:
    with globally(stream(0, name)):
        original, other = build(name, (3, 32, 32), 10), build(name, (3, 32, 32), 10)
    vector = TaskVector(original, other.state_dict())
    writer = CandidateWriter(original, vector, torch.rand(2, 3, 32, 32))
    made = copy.deepcopy(writer.write(-1.0, 0.9).state_dict())
    assert set(made) == set(original.state_dict())
    assert all(torch.isfinite(tensor.float()).all() for tensor in made.values())
    assert torch.equal(writer.write(-1.0, 0.9).state_dict()["head.weight"], made["head.weight"])


def test_a_relative_task_vector_is_as_long_as_the_weights() -> None:
    """|theta| = 5, tau = (0, 10): scaled by a half, and alpha = -0.2 moves one unit."""
    original = linear(3.0, 4.0)
    vector = TaskVector(original, {"weight": torch.tensor([[3.0, 14.0]])})
    assert vector.relative == pytest.approx(0.5)
    knobs = {"alpha": -0.2, "rho": 0.0, "tau_norm": "unit-relative"}
    made = make_method("task-arithmetic", knobs)(original, NO_SPLITS, stream(0, ""), expert=vector)
    torch.testing.assert_close(made.weights["weight"], torch.tensor([[3.0, 3.0]]))


@pytest.mark.parametrize("name", ["task-arithmetic", "sign-consensus"])
def test_relative_steps_do_not_depend_on_how_far_an_expert_went(name: str) -> None:
    original = linear(3.0, 4.0, 0.0)
    knobs = {"alpha": -0.2, "rho": 0.5, "tau_norm": "unit-relative"}
    found = []
    for length in (1e-3, 1.0):
        tau = length * torch.tensor([[1.0, -2.0, 0.5]])
        expert = {"weight": original.weight.detach() + tau}
        vector = TaskVector(original, expert)
        method = make_method(name, knobs)
        needs: dict[str, Any] = {"expert": vector, "experts": [expert, expert]}
        needs = {need: needs[need] for need in method.needs}
        found.append(method(original, NO_SPLITS, stream(0, ""), **needs).weights["weight"])
    torch.testing.assert_close(found[0], found[1], rtol=1e-3, atol=1e-3)


def test_a_relative_candidate_has_the_bits_of_the_method(one: World) -> None:
    vector = TaskVector(one.model, one.experts[0])
    knobs = {"alpha": -0.05, "rho": 0.5, "tau_norm": "unit-relative"}
    method = TaskArithmetic(**knobs)  # type: ignore[arg-type]
    wanted = method(one.model, one.splits, stream(0, ""), expert=vector).weights
    writer = CandidateWriter(one.model, vector, one.few)
    method.write_candidate(writer, one.splits, stream(0, ""))
    got = writer.model.state_dict()
    assert all(torch.equal(got[key], tensor) for key, tensor in wanted.items())


def test_an_expert_that_learned_nothing_moves_nothing() -> None:
    original = linear(3.0, 4.0)
    vector = TaskVector(original, {"weight": torch.tensor([[3.0, 4.0]])})
    method = make_method("task-arithmetic", {"alpha": -1.0, "tau_norm": "unit-relative"})
    made = method(original, NO_SPLITS, stream(0, ""), expert=vector).weights["weight"]
    assert made.tolist() == [[3.0, 4.0]]
