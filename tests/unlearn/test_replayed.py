"""Candidates from static buffers, on a CPU: a graph that runs Python again stands in for a CUDA
graph."""

import gc
import math
import weakref
from collections.abc import Callable
from itertools import product

import pytest
import torch
from torch import Tensor, nn

from tests.unlearn.test_capture import Again
from tests.unlearn.world import World
from unlearn.capture import eager_steps
from unlearn.cuda_graph import Losses
from unlearn.early_stop import ValAccuracies, ValReader
from unlearn.hardest_first import HardestFirst
from unlearn.methods.task_arithmetic import TaskArithmetic
from unlearn.methods.task_vector import CandidateWriter, TaskVector
from unlearn.replayed import Replayed, ReplayedNetwork
from unlearn.streams import stream

WEIGHT = 1.5
POINTS = list(product((-6.0, -3.0, -1.0, 0.0), (0.0, 0.5, 0.9, 1.0)))


class Recorder:
    """Makes the graphs, and counts how many there are and how often they are repeated."""

    def __init__(self, error: str = "") -> None:
        self.error = error
        self.made = self.replays = 0

    def __call__(self) -> Again:
        outer = self

        class Counted(Again):
            def record(
                self, step: Callable[[], Losses], generators: list[torch.Generator]
            ) -> Losses:
                if outer.error:
                    raise RuntimeError(outer.error)
                outer.made += 1
                return super().record(step, generators)

            def replay(self) -> None:
                outer.replays += 1
                super().replay()

        return Counted(stream(0, "graph"))


def grid(
    writer: CandidateWriter, reader: ValReader, points: list[tuple[float, float]] = POINTS
) -> list[ValAccuracies]:
    """Read every candidate as long as it can reach the best one so far."""
    bar, found = -math.inf, []
    for point in points:
        writer.write(*point)
        read = reader.run(writer.answering(), WEIGHT, bar)
        found.append(read)
        if not read.stopped:
            bar = max(bar, read.score(WEIGHT))
    return found


@pytest.fixture
def vector(one: World) -> TaskVector:
    return TaskVector(one.model, one.experts[0])


def test_a_function_runs_from_python_three_times_and_as_a_graph_from_then_on() -> None:
    model, recorder = nn.Linear(1, 1), Recorder()
    square = Replayed(lambda x, y: x * x + y, model, recorder)
    found = [square(torch.tensor(float(i)), torch.tensor(0.5)).item() for i in range(6)]
    assert found == [0.5, 1.5, 4.5, 9.5, 16.5, 25.5]
    assert (recorder.made, recorder.replays, square.report.replayed) == (1, 3, 3)
    assert square.report.obstacle == ""


def test_a_network_gets_one_graph_per_shape_and_follows_its_weights() -> None:
    network, recorder = nn.Linear(2, 1, bias=False).eval(), Recorder()
    answer = ReplayedNetwork(network, recorder)
    kept = []
    for i in range(1, 7):
        with torch.no_grad():
            network.weight.fill_(float(i))
        kept += [answer(torch.ones(n, 2)) for n in (1, 3)]
    assert [logits.sum().item() for logits in kept] == [
        n * 2 * i for i in range(1, 7) for n in (1, 3)
    ]
    assert (recorder.made, recorder.replays) == (2, 6)
    for n in (4, 5, 6):
        assert answer(torch.ones(n, 2)).sum().item() == n * 12
    assert len(answer.by_shape) == 4


def test_written_from_static_buffers_a_candidate_has_the_bits_of_the_method(
    one: World, vector: TaskVector
) -> None:
    recorder = Recorder()
    writer = CandidateWriter(one.model, vector, one.few, recorder)
    plain = CandidateWriter(one.model, vector, one.few)
    for alpha, rho in POINTS:
        method = TaskArithmetic(alpha=alpha, rho=rho)
        wanted = method(one.model, one.splits, stream(0, ""), expert=vector).weights
        got = writer.write(alpha, rho).state_dict()
        assert all(torch.equal(got[key], tensor) for key, tensor in wanted.items()), (alpha, rho)
        plain.write(alpha, rho)
        with torch.no_grad():
            assert torch.equal(writer.answering()(one.few), plain.answering()(one.few))
    assert recorder.made == 3  # writing, folding, answering
    assert recorder.replays == 3 * (len(POINTS) - 3)


def test_a_grid_read_from_static_buffers_gives_the_same_rows(
    one: World, vector: TaskVector
) -> None:
    reader, recorder = ValReader(one.splits.val, batch=50), Recorder()
    wanted = grid(CandidateWriter(one.model, vector, one.few), reader)
    found = grid(CandidateWriter(one.model, vector, one.few, recorder), reader)
    assert found == wanted
    assert any(read.stopped for read in found)
    assert recorder.replays > 2 * (len(POINTS) - 3)


def test_recalibrated_statistics_reach_the_answers(one: World, vector: TaskVector) -> None:
    writers = [
        CandidateWriter(one.model, vector, one.few, recorder) for recorder in (None, Recorder())
    ]
    for alpha, recalibrated in product((-1.0, -2.0, -3.0), (True, False)):
        method = TaskArithmetic(alpha=alpha, rho=0.5, recalibrate=recalibrated)
        with torch.no_grad():
            plain, static = (
                method.write_candidate(writer, one.splits, stream(0, "ta"))(one.few)
                for writer in writers
            )
        assert torch.equal(plain, static)


def test_the_hardest_images_first_give_the_same_score(one: World, vector: TaskVector) -> None:
    reader = HardestFirst(one.splits.test, [one.model], WEIGHT)
    scores = []
    for recorder in (None, Recorder()):
        writer = CandidateWriter(one.model, vector, one.few, recorder)
        for point in POINTS[:6]:
            writer.write(*point)
            scores.append(reader.highest(writer.answering()))
    assert scores[:6] == scores[6:]


def test_where_nothing_can_be_captured_candidates_are_read_all_the_same(
    one: World, vector: TaskVector
) -> None:
    reader, recorder = ValReader(one.splits.val, batch=50), Recorder("not permitted\nand more")
    wanted = grid(CandidateWriter(one.model, vector, one.few), reader)
    writer = CandidateWriter(one.model, vector, one.few, recorder)
    assert grid(writer, reader) == wanted
    assert writer.graphs is not None
    assert writer.graphs.write.report.obstacle == "capture failed: not permitted"
    with eager_steps():
        writer = CandidateWriter(one.model, vector, one.few, recorder)
    assert grid(writer, reader)[:3] == wanted[:3]


def test_graphs_go_with_their_writer(one: World, vector: TaskVector) -> None:
    """By their count of references: a garbage collection would come when it likes."""
    recorder = Recorder()
    writer = CandidateWriter(one.model, vector, one.few, recorder)
    for point in POINTS[:5]:
        writer.write(*point)
        writer.answering()(one.few)
    assert writer.graphs is not None
    graphs = [weakref.ref(writer.graphs.write.step), weakref.ref(writer.graphs.fold.step)]
    graphs += [weakref.ref(each.step) for each in writer.graphs.answer.by_shape.values()]
    assert recorder.replays > 0
    gc.disable()
    try:
        del writer
        assert [graph() for graph in graphs] == [None] * 3
    finally:
        gc.enable()


class Counting(nn.Linear):
    """Changes its answer with the number of its calls, which a graph would freeze."""

    calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return super().forward(x) + self.calls


def test_a_network_that_counts_its_calls_is_not_captured() -> None:
    network, recorder = Counting(2, 1, bias=False).eval(), Recorder()
    nn.init.zeros_(network.weight)
    answer = ReplayedNetwork(network, recorder)
    assert [answer(torch.ones(1, 2)).item() for _ in range(8)] == [float(i) for i in range(1, 9)]
    assert recorder.made == 0
