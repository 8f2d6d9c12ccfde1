"""The task vector of an expert, and a scratch model that takes its (alpha, rho) candidates."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from unlearn.cuda_graph import CudaGraph, Graph
from unlearn.fold_norms import FoldedNetwork
from unlearn.models import Weights
from unlearn.replayed import Replayed, ReplayedNetwork

TAU_NORMS = {
    "none": "the expert's weights minus the original's",
    "unit-relative": "scaled to the norm of the original's weights",
}


def relative_scale(original: Weights, tau: Weights) -> float:
    """Return |theta| / |tau| over all parameters together; 1 where tau is 0.

    Scaled by it, a task vector is as long as the weights, however long its expert was trained: a
    step of alpha = -0.1 moves the weights by a tenth of their norm.
    """
    theta = sum(float(p.double().square().sum()) for p in original.values())
    length = sum(float(t.double().square().sum()) for t in tau.values())
    return (theta / length) ** 0.5 if length > 0 else 1.0


class TaskVector:
    """tau = theta_expert - theta_original by parameter, with |tau| sorted once per tensor.

    Buffers, such as the running statistics of norms, are left out. Holds copies, shares no memory.

    tau: the difference, by parameter name.
    magnitudes: |tau| of each tensor, flat, in ascending order.
    relative: what scales tau to the norm of the original's weights (`relative_scale`).
    """

    def __init__(self, original: nn.Module, expert: Weights) -> None:
        self.tau: Weights = {}
        self.magnitudes: Weights = {}
        for name, p in original.named_parameters():
            tau = expert[name].to(p) - p.detach()
            self.tau[name] = tau
            self.magnitudes[name] = tau.abs().flatten().sort().values
        theta = {name: p.detach() for name, p in original.named_parameters()}
        self.relative = relative_scale(theta, self.tau)

    def scale(self, tau_norm: str) -> float:
        """Return the factor on tau that a key of `TAU_NORMS` stands for."""
        return self.relative if tau_norm == "unit-relative" else 1.0

    def threshold(self, name: str, rho: float) -> Tensor:
        """Return the exact rho-quantile of |tau| in tensor `name`, a scalar.

        Linear between order statistics, as `torch.quantile`, but at any size.
        """
        magnitudes = self.magnitudes[name]
        last = len(magnitudes) - 1
        position = rho * last
        below = int(position)
        above = min(below + 1, last)
        return torch.lerp(magnitudes[below], magnitudes[above], position - below)

    def places(self, rho: float) -> tuple[Tensor, Tensor]:
        """Return where the rho-quantiles lie in all `magnitudes` one after the other.

        Both on their device: the order statistics below and above, int64 (tensors, 2), and how far
        the quantile lies between them, (tensors,), in [0, 1).
        """
        neighbours, weights, start = [], [], 0
        for magnitudes in self.magnitudes.values():
            last = len(magnitudes) - 1
            position = rho * last
            below = int(position)
            neighbours.append((start + below, start + min(below + 1, last)))
            weights.append(position - below)
            start += len(magnitudes)
        at = next(iter(self.magnitudes.values()))
        between = torch.tensor(weights, dtype=torch.float64)
        return torch.tensor(neighbours).to(at.device), between.to(at)

    def masked(self, name: str, rho: float) -> Tensor:
        """Return tau of tensor `name` where |tau| >= its rho-quantile, and 0 elsewhere."""
        tau = self.tau[name]
        return tau * (tau.abs() >= self.threshold(name, rho))

    def cutoffs(self, rho: float) -> dict[str, float]:
        """Return, by tensor, the next number below its threshold.

        |tau| > cutoff is the same as |tau| >= threshold. All values leave the device at once.
        """
        thresholds = torch.stack([self.threshold(name, rho) for name in self.tau])
        infinity = torch.full_like(thresholds, torch.inf)
        below = torch.nextafter(thresholds, -infinity)
        return dict(zip(self.tau, below.tolist(), strict=True))


class CandidateWriter:
    """Writes theta_pre + alpha mask(tau, rho) into one scratch copy of the model, again and again.

    A candidate costs three passes over the weights: no clone, no sort, no new model. On a CUDA
    device writing, folding and answering run as graphs, and writing holds four more copies of the
    weights.

    model: the scratch copy, in eval mode; it holds a candidate until the next `write`.
    folded: the same network with its batch norms folded, checked on the images `x`.
    graphs: None where everything runs from Python.
    make_graph: makes the graphs; None for `CudaGraph` on a CUDA device and none elsewhere.
    """

    def __init__(
        self,
        original: nn.Module,
        vector: TaskVector,
        x: Tensor,
        make_graph: Callable[[], Graph] | None = None,
    ) -> None:
        self.vector = vector
        self.model = copy.deepcopy(original).eval()
        self.parameters = dict(self.model.named_parameters())
        self.folded = FoldedNetwork(self.model, x)
        self.theta = {name: p.detach().clone() for name, p in original.named_parameters()}
        self.buffers = {name: b.detach().clone() for name, b in original.named_buffers()}
        largest = max(self.theta.values(), key=Tensor.numel)
        self.scratch = torch.empty_like(largest).flatten()
        if make_graph is None and largest.is_cuda:
            make_graph = CudaGraph
        one_type = len({p.dtype for p in self.theta.values()}) == 1
        self.graphs = self._graphs(make_graph) if make_graph and one_type else None

    def _graphs(self, make_graph: Callable[[], Graph]) -> "_Graphs":
        # None of these refers to the writer: a graph's memory is free as soon as the writer is.
        ordered = torch.cat(list(self.vector.magnitudes.values()))
        written = [(self.theta[name], self.parameters[name].data) for name in self.vector.tau]
        reset = partial(_reset_buffers, self.model, self.buffers)
        write = partial(_write_on_device, list(self.vector.tau.values()), ordered, written, reset)
        return _Graphs(
            Replayed(write, self.model, make_graph),
            Replayed(partial(_fold, self.folded, self.scratch), self.folded.model, make_graph),
            ReplayedNetwork(self.folded.model, make_graph),
        )

    @torch.no_grad()
    def write(self, alpha: float, rho: float) -> nn.Module:
        """Write the candidate (alpha, rho) and return the scratch model, in eval mode.

        Its parameters have the bits that `TaskArithmetic` gives; its buffers are the original's.
        """
        if self.graphs is None:
            self._write(alpha, rho)
        else:
            step = torch.tensor(alpha, dtype=torch.float64).to(self.scratch)
            self.graphs.write(step, *self.vector.places(rho))
        # Training mode in between makes a network drop what it caches of its weights in eval mode.
        return self.model.train().eval()

    def _write(self, alpha: float, rho: float) -> None:
        for name, cutoff in self.vector.cutoffs(rho).items():
            tau = self.vector.tau[name]
            masked = self.scratch[: tau.numel()].view(tau.shape)
            torch.ops.aten.hardshrink.out(tau, cutoff, out=masked)
            step = masked.mul_(alpha)
            torch.add(self.theta[name], step, out=self.parameters[name].data)
        _reset_buffers(self.model, self.buffers)

    def answering(self) -> Callable[[Tensor], Tensor]:
        """Return the folded network of the candidate, images -> logits; valid until `write`."""
        if self.graphs is None:
            return self.folded.refresh()
        if self.folded.pairs:  # an empty graph cannot be recorded
            self.graphs.fold()
        self.folded.model.train().eval()
        return self.graphs.answer


def _write_on_device(
    taus: list[Tensor],
    ordered: Tensor,
    written: list[tuple[Tensor, Tensor]],
    reset: Callable[[], None],
    alpha: Tensor,
    neighbours: Tensor,
    weights: Tensor,
) -> Tensor:
    """Write a candidate in few kernels and without a number that the host must know.

    taus: of each tensor
    ordered: all magnitudes, one tensor's after the other
    written: weights of the original, and where the candidate's go
    reset: sets the buffers
    alpha, neighbours, weights: see `TaskVector.places`

    Returns the quantiles (tensors,).
    """
    below, above = ordered[neighbours].unbind(1)
    thresholds = torch.lerp(below, above, weights)
    magnitudes = torch._foreach_abs(taus)
    masks = [m >= t for m, t in zip(magnitudes, thresholds.unbind(), strict=True)]
    steps = [tau * mask for tau, mask in zip(taus, masks, strict=True)]
    torch._foreach_mul_(steps, alpha)
    moved = torch._foreach_add([original for original, _ in written], steps)
    torch._foreach_copy_([candidate for _, candidate in written], moved)
    reset()
    return thresholds


def _reset_buffers(model: nn.Module, buffers: Weights) -> None:
    for name, buffer in model.named_buffers():
        buffer.copy_(buffers[name])


def _fold(folded: FoldedNetwork, value: Tensor) -> Tensor:
    """Fold in place; a graph must return something, so `value` is handed through."""
    folded.fold()
    return value


@dataclass(frozen=True)
class _Graphs:
    """What a `CandidateWriter` repeats as graphs."""

    write: Replayed
    fold: Replayed
    answer: ReplayedNetwork
