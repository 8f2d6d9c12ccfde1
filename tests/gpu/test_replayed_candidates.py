"""On a CUDA device candidates are written, folded and read as graphs, with the same answers."""

from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.unlearn.methods.test_task_arithmetic import CachingLinear
from tests.unlearn.test_replayed import grid
from unlearn.capture import eager_steps
from unlearn.early_stop import ValReader
from unlearn.methods.task_arithmetic import TaskArithmetic
from unlearn.methods.task_vector import CandidateWriter, TaskVector
from unlearn.models import build
from unlearn.replayed import ReplayedNetwork
from unlearn.splits import Images, Split, Splits
from unlearn.streams import seeded, stream
from unlearn.train import Training, fit

POINTS = list(product((-3.0, -2.0, -1.0, -0.5), (0.5, 0.7, 0.9, 0.99)))


@pytest.fixture(scope="module")
def colour_splits(colour: Images) -> Splits:
    part = Split(colour.take(colour.y == 3), colour.take(colour.y != 3))
    return Splits(part, part, part)


@pytest.fixture(scope="module")
def original(colour: Images) -> Any:
    """MobileNetV2 after a short training."""
    with seeded(0, "gpu"):
        model: Any = build("mobilenet_v2", (3, 32, 32), 10, options={"stem": "stock"}).cuda()
    plan = Training(100, 64, 2e-3)
    model.load_state_dict(fit(model, colour, plan, stream(0, "original", device="cuda"))[0])
    return model.eval()


@pytest.fixture(scope="module")
def vector(original: Any, colour_splits: Splits) -> TaskVector:
    plan = Training(20, 64, 3e-4, "constant")
    generator = stream(0, "expert", device="cuda")
    return TaskVector(original, fit(original, colour_splits.train.forget, plan, generator)[0])


def test_a_candidate_has_the_bits_of_the_method(
    original: Any, vector: TaskVector, colour: Images, colour_splits: Splits
) -> None:
    writer = CandidateWriter(original, vector, colour.x[:16].float() / 255)
    for alpha, rho in POINTS:
        method = TaskArithmetic(alpha=alpha, rho=rho)
        wanted = method(original, colour_splits, stream(0, ""), expert=vector).weights
        got = writer.write(alpha, rho).state_dict()
        assert all(torch.equal(got[key], tensor) for key, tensor in wanted.items()), (alpha, rho)
    assert writer.graphs is not None
    assert writer.graphs.write.report.captured, writer.graphs.write.report.obstacle
    assert writer.graphs.write.report.replayed == len(POINTS) - 3


def test_a_grid_read_as_graphs_gives_the_same_rows(
    original: Any, vector: TaskVector, colour: Images, colour_splits: Splits
) -> None:
    few, reader = colour.x[:16].float() / 255, ValReader(colour_splits.val)
    with eager_steps():
        plain = CandidateWriter(original, vector, few)
        wanted = grid(plain, reader, POINTS)
    writer = CandidateWriter(original, vector, few)
    assert grid(writer, reader, POINTS) == wanted
    assert plain.graphs is not None
    assert plain.graphs.write.report.replayed == 0
    assert writer.graphs is not None
    assert writer.graphs.fold.report.captured, writer.graphs.fold.report.obstacle
    answers = [each.report for each in writer.graphs.answer.by_shape.values()]
    print(f"\n{answers}")
    assert all(report.captured for report in answers), answers


class Reading(nn.Linear):
    """Reads a value of the device, which no graph can."""

    def forward(self, x: Tensor) -> Tensor:
        return x * float(self.weight.sum())


@pytest.mark.parametrize("kind", [CachingLinear, Reading])
def test_graphs_follow_weights_that_change_in_place(kind: type[nn.Linear]) -> None:
    network = kind(2, 2, bias=False).cuda().eval()
    answer, x = ReplayedNetwork(network), torch.eye(2, device="cuda")
    for i in range(1, 10):
        with torch.no_grad():
            network.weight.fill_(float(i))
        expected = i if kind is CachingLinear else 4 * i
        assert answer(x).max().item() == expected
    (replayed,) = answer.by_shape.values()
    assert replayed.report.captured == (kind is CachingLinear), replayed.report.obstacle
