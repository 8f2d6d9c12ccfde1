"""What a captured step takes from the host, on a CPU: a graph that runs Python again stands in for
a CUDA graph."""

from collections.abc import Callable
from itertools import count

import pytest
import torch
from torch import Tensor, nn

from unlearn.capture import CapturedStep, StepReport, eager_steps, step_reports
from unlearn.device_optimizers import DEVICE_OPTIMIZERS
from unlearn.feeds import Numbers, Phases, StepChange, reading
from unlearn.splits import Images
from unlearn.streams import stream
from unlearn.train import OPTIMIZERS, SCHEDULES, Schedule, descend, rates

Losses = dict[str, Tensor]
CPU = torch.device("cpu")


def images(n: int) -> Images:
    """`n` images of one pixel, each its own number in x and y."""
    return Images(torch.arange(n, dtype=torch.uint8).view(n, 1, 1, 1), torch.arange(n))


class Again:
    """Stands in for a CUDA graph: repeats the step in Python, from the feeds' buffers alone."""

    def __init__(self, generator: torch.Generator) -> None:
        self.generator = generator

    def record(self, step: Callable[[], Losses], generators: list[torch.Generator]) -> Losses:
        state = self.generator.get_state()
        self.step, self.losses = step, step()
        self.generator.set_state(state)
        return self.losses

    def replay(self) -> None:
        fresh, _ = reading(self.step, capturing=True)
        for name, value in fresh.items():
            self.losses[name].copy_(value)


def trace(
    n: int, steps: int, draws_first: bool, captured: bool, change: int = 1000
) -> tuple[list[float], StepReport]:
    """A number per step that depends on the batch, on draws, on a changing number and on a
    phase."""
    generator, report = stream(0, "trace"), StepReport("cpu", steps)
    batches = images(n).batches(4, generator)
    numbers = Numbers(((float(i),) for i in count()), CPU, held=True)
    phases = Phases(i < change for i in count())

    def step() -> Losses:
        early = torch.rand((), generator=generator) if draws_first else torch.zeros(())
        x, y = next(batches)
        (number,) = next(numbers)
        weighted = (y * torch.arange(4)).sum() + (x * 255).sum()
        late = torch.rand((), generator=generator)
        value = early + weighted + number + late
        return {"value": value if next(phases) else -value}

    take = CapturedStep(step, report, nn.Linear(1, 1), lambda: Again(generator), cuda=False)
    run = take if captured else step
    return [run()["value"].item() for _ in range(steps)], report


@pytest.mark.parametrize("draws_first", [False, True])
def test_a_repeated_step_draws_and_reads_what_python_does(draws_first: bool) -> None:
    wanted, _ = trace(22, 30, draws_first, captured=False)
    found, report = trace(22, 30, draws_first, captured=True)
    assert found == wanted
    # 5 batches an epoch. Three steps are taken from Python; so are those that begin an epoch where
    # other numbers are drawn before its order is: steps 6, 11, 16, 21 and 26 of 1 to 30.
    assert report.replayed == (22 if draws_first else 27)
    assert report.captured


def test_an_epoch_of_a_step_that_draws_nothing_else_is_repeated_as_well() -> None:
    generator, report = stream(0, "order"), StepReport("cpu", 30)
    batches, alone = images(22).batches(4, generator), images(22).batches(4, stream(0, "order"))
    step = lambda: {"first": next(batches)[1][0].clone()}  # noqa: E731
    take = CapturedStep(step, report, nn.Linear(1, 1), lambda: Again(generator), cuda=False)
    assert [take()["first"].item() for _ in range(30)] == [
        next(alone)[1][0].item() for _ in range(30)
    ]
    assert report.replayed == 27


def test_a_phase_that_ends_asks_for_a_new_capture() -> None:
    wanted, _ = trace(40, 30, False, captured=False, change=12)
    found, report = trace(40, 30, False, captured=True, change=12)
    assert found == wanted
    assert report.replayed == 30 - 3 - 3
    assert min(found[:12]) >= 0 > max(found[12:])


def test_phases_name_the_step_that_changes() -> None:
    phases = Phases([True, True, False])
    assert [(phases.upcoming(), next(phases)) for _ in range(4)] == [
        (StepChange.NEW, True),
        (StepChange.SAME, True),
        (StepChange.NEW, False),
        (StepChange.SAME, False),
    ]


def test_a_step_that_fails_while_captured_runs_from_python_with_the_same_result() -> None:
    generator, report, model = stream(0, "fails"), StepReport("cpu", 30), nn.Linear(1, 1)
    batches = images(22).batches(4, generator)
    tries = []

    class Fails(Again):
        def record(self, step: Callable[[], Losses], generators: list[torch.Generator]) -> Losses:
            tries.append(1)
            model.eval()
            raise RuntimeError("operation not permitted when stream is capturing\nand more")

    step = lambda: {"sum": next(batches)[1].sum()}  # noqa: E731
    take = CapturedStep(step, report, model, lambda: Fails(generator), cuda=False)
    found = [take()["sum"].item() for _ in range(30)]
    again = images(22).batches(4, stream(0, "fails"))
    assert found == [next(again)[1].sum().item() for _ in range(30)]
    assert tries == [1]
    assert model.training
    assert not report.captured
    assert report.obstacle == "capture failed: operation not permitted when stream is capturing"


@pytest.mark.parametrize(
    ("why", "draw"),
    [
        ("random numbers on the host", lambda batches: __import__("random").random()),
        ("two batches from one source", lambda batches: next(batches)),
    ],
)
def test_a_step_with_an_obstacle_is_never_captured(
    why: str, draw: Callable[[object], object]
) -> None:
    report, batches = StepReport("cpu", 30), images(22).batches(4, stream(0, "obstacle"))

    def step() -> Losses:
        draw(batches)
        return {"sum": next(batches)[1].sum()}

    take = CapturedStep(step, report, nn.Linear(1, 1), lambda: pytest.fail("captured"), cuda=False)
    for _ in range(30):
        take()
    assert why in report.obstacle


def test_a_network_that_counts_on_the_host_is_never_captured() -> None:
    class Counting(nn.Module):
        seen = 0

        def forward(self, x: Tensor) -> Tensor:
            self.seen += 1
            return x * self.seen

    report, model = StepReport("cpu", 30), nn.Sequential(Counting())
    batches = images(22).batches(4, stream(0, "counting"))
    step = lambda: {"sum": model(next(batches)[1]).sum()}  # noqa: E731
    take = CapturedStep(step, report, model, lambda: pytest.fail("captured"), cuda=False)
    for _ in range(30):
        take()
    assert report.obstacle == "the network changes an attribute on the host"


def test_a_short_run_and_a_run_that_is_told_so_are_not_captured() -> None:
    short = StepReport("cpu", 10)
    CapturedStep(dict, short, nn.Linear(1, 1))
    assert "10 steps is too short" in short.obstacle
    told = StepReport("cpu", 100)
    with eager_steps("a comparison"):
        CapturedStep(dict, told, nn.Linear(1, 1))
    assert told.obstacle == "a comparison"


def test_a_report_comes_from_every_run_inside() -> None:
    model = nn.Linear(1, 1)
    with step_reports() as reports:
        for steps in (3, 4):
            descend(model, lambda: {"loss": model.weight.square().sum()}, Schedule(steps, 1, 0.1))
    assert [(report.device, report.steps) for report in reports] == [("cpu", 3), ("cpu", 4)]
    assert not any(report.captured for report in reports)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_optimizers_of_a_device_move_as_torchs_do(
    schedule: str, optimizer: str, decay: float
) -> None:
    plan = Schedule(12, 1, 0.05, schedule, decay, optimizer)
    target = torch.randn(5, generator=stream(0, "target"))
    ours, torchs, idle = (nn.Parameter(torch.ones(5)) for _ in range(3))
    move = DEVICE_OPTIMIZERS[optimizer](
        [ours, idle], rates(plan), decay, schedule == "one-cycle", held=True
    )
    reference = OPTIMIZERS[optimizer]([torchs], plan)
    scheduler = SCHEDULES[schedule](reference, plan)
    for _ in range(plan.steps):
        for weights in (ours, torchs):
            weights.grad = None
            (weights - target).square().sum().backward()
        move()
        reference.step()
        scheduler.step()
        torch.testing.assert_close(ours, torchs, rtol=1e-5, atol=1e-6)
    assert torch.equal(idle, torch.ones(5))
    assert (ours - 1).abs().min() > 0.01
