"""Run a training step as a CUDA graph: record its kernels once, then launch them together.

Launches take most of a small network's step: on one H100 a CVAE's step takes about 4 ms from Python
and 0.56 ms as a graph (docs/gpu.md). The random numbers are the same both ways: the graph advances
the generators as Python would.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache

import torch
from torch import nn

from unlearn.cuda_graph import CudaGraph, Graph, Losses
from unlearn.feeds import StepChange, reading
from unlearn.inspection import Seen, inspect_step

WARM = 3  # steps of the run that are taken from Python first, as torch's notes on CUDA graphs ask
WORTH = 16  # steps that must be left for a capture to pay for itself
MOST = 4  # captures a run, where phases change


@dataclass
class StepReport:
    """How the steps of one run were taken.

    device: name of the CUDA device, or the type of another one
    steps: number of steps of the run
    replayed: number of steps that ran as a graph, in 0 .. steps; the first ones, and some that
        begin an epoch, never do
    obstacle: what kept the steps from being captured, "" for nothing
    """

    device: str
    steps: int
    replayed: int = 0
    obstacle: str = ""

    @property
    def captured(self) -> bool:
        """Whether steps ran as a graph, up to the end of the run."""
        return self.replayed > 0 and not self.obstacle


_reports: list[list[StepReport]] = []
_off: list[str] = []


@contextmanager
def step_reports() -> Iterator[list[StepReport]]:
    """Collect one report per run of `unlearn.train.descend` inside, in order."""
    reports: list[StepReport] = []
    _reports.append(reports)
    try:
        yield reports
    finally:
        _reports.pop()


@contextmanager
def eager_steps(reason: str = "switched off") -> Iterator[None]:
    """Take every step inside from Python; reports give `reason` as the obstacle."""
    _off.append(reason)
    try:
        yield
    finally:
        _off.pop()


class CapturedStep:
    """A step that runs from Python at first, and as a graph from then on where it can.

    What changes between steps on the host must come from feeds: a counter of the step's own would
    be frozen. A step that cannot be captured runs from Python throughout, with the same result.

    step: moves the weights once and returns the named terms of the loss; a repeated step returns
        the same tensors every time
    report: is filled in
    model: what the step moves; watched for attributes that change
    make_graph: makes the graph that records the step
    cuda: whether the step runs on a CUDA device
    """

    def __init__(
        self,
        step: Callable[[], Losses],
        report: StepReport,
        model: nn.Module,
        make_graph: Callable[[], Graph] = CudaGraph,
        cuda: bool = True,
    ) -> None:
        self.step, self.report, self.model = step, report, model
        self.make_graph, self.cuda = make_graph, cuda
        self.graph: Graph | None = None
        self.losses: Losses = {}
        self.seen: Seen | None = None
        self.warm = self.captures = 0
        if _off:
            report.obstacle = _off[-1]
        elif report.steps < WARM + WORTH:
            report.obstacle = f"a run of {report.steps} steps is too short to capture"

    def __call__(self) -> Losses:
        """Take one step; return the terms of its loss."""
        if self.report.obstacle:
            return self.step()
        changes = {feed.upcoming() for feed in self.seen.feeds} if self.seen else {StepChange.NEW}
        if StepChange.NEW in changes:
            self.graph, self.warm = None, 0
        if self.seen is not None and StepChange.ODD in changes:
            return self.step()
        if self.warm < WARM:
            return self._from_python(usual=changes == {StepChange.SAME} or not changes)
        graph = self.graph or self._capture(self.seen)
        return self.step() if graph is None else self._replay(graph)

    def _from_python(self, usual: bool) -> Losses:
        """Run the step from Python; judge it by what it does where it does what later steps do."""
        before = self.seen or Seen([], [], "", False)
        losses, seen = inspect_step(self.step, self.model, before.generators, self.cuda)
        self.seen, self.warm = seen, self.warm + 1
        if usual:
            self.report.obstacle = seen.obstacle
        if usual and seen.host_draws and before.host_draws:  # once may be another thread's draw
            self.report.obstacle = "the step draws random numbers on the host"
        return losses

    def _capture(self, seen: Seen | None) -> Graph | None:
        """Record the step; return None, with the obstacle noted, where that cannot be done."""
        if seen is None or self.captures == MOST:
            self.report.obstacle = f"the step changed more than {MOST} times"
            return None
        self.captures += 1
        graph, modes = self.make_graph(), [(part, part.training) for part in self.model.modules()]
        try:
            self.losses, feeds = reading(
                lambda: graph.record(self.step, seen.generators), capturing=True
            )
        except Exception as error:  # a user's network may raise anything; from Python, it may not
            self.report.obstacle = f"capture failed: {[*str(error).splitlines(), ''][0]}"
            for part, training in modes:  # a step that was cut short may have left it elsewhere
                part.training = training
            return None
        if feeds != seen.feeds:
            self.report.obstacle = "the step reads other sources each time"
            return None
        self.graph = graph
        return graph

    def _replay(self, graph: Graph) -> Losses:
        for feed in self.seen.feeds if self.seen else ():
            feed.advance()
        graph.replay()
        self.report.replayed += 1
        return self.losses

    def release(self) -> None:
        """Give the memory of the graph back to the device, where other processes may want it."""
        if self.graph is None:
            return
        torch.cuda.synchronize()
        self.graph, self.losses = None, {}
        for p in self.model.parameters():
            p.grad = None
        torch.cuda.empty_cache()


@contextmanager
def captured(
    step: Callable[[], Losses], steps: int, model: nn.Module, device: torch.device
) -> Iterator[Callable[[], Losses]]:
    """Give `step`, which moves `model`, as a graph where it can be one: on a CUDA device.

    There everything inside runs on a stream of our own, since the default one cannot be captured.
    Every `step_reports` around gets a report.
    """
    report = StepReport(_name(device), steps)
    for reports in _reports:
        reports.append(report)
    if device.type != "cuda":
        yield step
        return
    taken = CapturedStep(step, report, model)
    with own_stream(device):
        yield taken
        taken.release()


@contextmanager
def own_stream(device: torch.device) -> Iterator[None]:
    """Run everything inside on a stream that can be captured, in order with the current stream."""
    with torch.cuda.device(device):
        outer, inner = torch.cuda.current_stream(), _stream(torch.cuda.current_device())
        inner.wait_stream(outer)
        try:
            with torch.cuda.stream(inner):
                yield
        finally:
            outer.wait_stream(inner)


@cache
def _stream(device: int) -> torch.cuda.Stream:
    """Return one stream per device: the allocator keeps freed memory by stream."""
    return torch.cuda.Stream(device)


def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
