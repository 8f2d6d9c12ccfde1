"""Call a function of tensors again and again, on a CUDA device as a graph.

Reading one candidate of a grid launches some thousand small kernels; from Python, the launches take
longer than the kernels. `unlearn.capture` records them, for a function whose tensors keep their
address.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from unlearn.capture import CapturedStep, StepReport, own_stream
from unlearn.cuda_graph import CudaGraph, Graph, Losses
from unlearn.feeds import Feed

ENDLESS = 1_000_000  # calls: how many there will be is not known, but they are worth a graph
MOST_SHAPES = 4  # shapes of input that get a graph each


class Arguments(Feed[tuple[Tensor, ...]]):
    """Tensors that are handed over before each step and copied to where the step reads them."""

    def __init__(self) -> None:
        self.given: tuple[Tensor, ...] = ()
        self.buffers: tuple[Tensor, ...] = ()

    def give(self, *tensors: Tensor) -> None:
        """Set the next step's tensors; their shapes, types and devices stay the same."""
        self.given = tensors

    def advance(self) -> None:
        if not self.buffers:
            self.buffers = tuple(tensor.clone() for tensor in self.given)
            return
        for buffer, tensor in zip(self.buffers, self.given, strict=True):
            buffer.copy_(tensor)

    def item(self) -> tuple[Tensor, ...]:
        return self.buffers


class Replayed:
    """A function that runs from Python at first and as a graph from its fourth call on.

    Where it cannot be captured, it runs from Python throughout, with the same result.

    function: launches the same kernels at every call and reads nothing that changes but its
        arguments and tensors that keep their address; draws no random numbers
    model: the network that the function reads or writes; watched for attributes that change
    make_graph: makes the graph that records the function
    """

    def __init__(
        self,
        function: Callable[..., Tensor],
        model: nn.Module,
        make_graph: Callable[[], Graph] = CudaGraph,
    ) -> None:
        arguments = Arguments()

        def step() -> Losses:  # refers to no `Replayed`, so that the graph goes with the last one
            return {"value": function(*next(arguments))}

        self.arguments = arguments
        self.device = next(model.parameters()).device
        self.report = StepReport(self.device.type, ENDLESS)
        cuda = self.device.type == "cuda"
        self.step = CapturedStep(step, self.report, model, make_graph, cuda)

    @torch.no_grad()
    def __call__(self, *arguments: Tensor) -> Tensor:
        """Return the function's value; the next call may overwrite it."""
        self.arguments.give(*arguments)
        if self.device.type != "cuda":
            return self.step()["value"]
        with own_stream(self.device):
            return self.step()["value"]


class ReplayedNetwork:
    """A network in eval mode that answers as a graph, one graph per shape of its input.

    network: images (n, channels, height, width) -> logits (n, classes); its weights change in place
    make_graph: see `Replayed`
    """

    def __init__(self, network: nn.Module, make_graph: Callable[[], Graph] = CudaGraph) -> None:
        self.network, self.make_graph = network, make_graph
        self.by_shape: dict[tuple[torch.Size, torch.dtype], Replayed] = {}

    @torch.no_grad()
    def __call__(self, x: Tensor) -> Tensor:
        """Return the logits of `x`, a tensor of their own."""
        key = x.shape, x.dtype
        if key not in self.by_shape:
            if len(self.by_shape) == MOST_SHAPES:
                return _answer(self.network, x)
            answer = partial(_answer, self.network)
            self.by_shape[key] = Replayed(answer, self.network, self.make_graph)
        return self.by_shape[key](x).clone()


def _answer(network: nn.Module, x: Tensor) -> Tensor:
    # Training mode in between drops what the network caches of its weights in eval mode, so a graph
    # computes that anew.
    logits: Tensor = network.train().eval()(x)
    return logits
