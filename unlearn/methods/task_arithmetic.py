"""Task arithmetic (arXiv:2212.04089) with a magnitude mask: walk away from an expert of the forgotten class."""

import copy
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from unlearn.errors import require
from unlearn.fold_norms import FoldedNetwork
from unlearn.methods.base import Method, Unlearned, edited
from unlearn.models import Weights
from unlearn.norms import recalibrate
from unlearn.splits import Splits
from unlearn.train import snapshot


class TaskVector:
    """tau = theta_expert - theta_original over the parameters, with |tau| sorted once per tensor.

    Running statistics of norms are buffers, not parameters, and are left out. Holds copies; shares nothing.
    """

    def __init__(self, original: nn.Module, expert: Weights) -> None:
        self.tau = {
            name: expert[name].to(p) - p.detach() for name, p in original.named_parameters()
        }
        self.sorted = {name: t.abs().flatten().sort().values for name, t in self.tau.items()}

    def threshold(self, name: str, rho: float) -> Tensor:
        """The exact rho-quantile of |tau| in tensor `name`, linear between order statistics, at any size."""
        ranks = self.sorted[name]
        place = rho * (len(ranks) - 1)
        low = int(place)
        high = min(low + 1, len(ranks) - 1)
        return torch.lerp(ranks[low], ranks[high], place - low)

    def masked(self, name: str, rho: float) -> Tensor:
        """tau of one tensor where |tau| >= its rho-quantile, else 0."""
        tau = self.tau[name]
        return tau * (tau.abs() >= self.threshold(name, rho))

    def cuts(self, rho: float) -> dict[str, float]:
        """The number just below each tensor's threshold: |tau| > cut is |tau| >= threshold. One transfer for all."""
        thresholds = torch.stack([self.threshold(name, rho) for name in self.tau])
        below = torch.nextafter(thresholds, torch.full_like(thresholds, -torch.inf))
        return dict(zip(self.tau, below.tolist(), strict=True))


class CandidateWriter:
    """Writes theta_pre + alpha mask(tau, rho) into one scratch copy of the model, again and again.

    A candidate costs three passes over the weights: no clone, no sort, no new model. `model` is the scratch copy, in
    eval mode; what is written lasts until the next `operate`. `folded` is the form to read it in, which is tried on
    the images `x`.
    """

    def __init__(self, original: nn.Module, vector: TaskVector, x: Tensor) -> None:
        self.vector, self.model = vector, copy.deepcopy(original).eval()
        self.theta = {name: p.detach().clone() for name, p in original.named_parameters()}
        self.buffers = {name: b.detach().clone() for name, b in original.named_buffers()}
        self.parameters = dict(self.model.named_parameters())
        self.folded = FoldedNetwork(self.model, x)
        self.scratch = torch.empty_like(max(self.theta.values(), key=Tensor.numel)).flatten()

    @torch.no_grad()
    def operate(self, alpha: float, rho: float) -> nn.Module:
        """The model at (alpha, rho), number for number what `TaskArithmetic` gives; buffers are the original's."""
        for name, cut in self.vector.cuts(rho).items():
            tau = self.vector.tau[name]
            kept = self.scratch[: tau.numel()].view(tau.shape)
            torch.ops.aten.hardshrink.out(tau, cut, out=kept)
            torch.add(self.theta[name], kept.mul_(alpha), out=self.parameters[name].data)
        for name, buffer in self.model.named_buffers():
            buffer.copy_(self.buffers[name])
        return (
            self.model.train().eval()
        )  # a network that keeps something of its weights in eval mode lets go of it


@dataclass(frozen=True)
class TaskArithmetic(Method):
    """theta = theta_pre + alpha * mask(tau, rho); alpha < 0 forgets, rho is the share of each tensor left alone.

    alpha = 0 is the original, bit for bit; alpha = 1, rho = 0 is the expert. `recalibrate` measures the running
    statistics of batch norms anew on retained training images, for which the reference keeps the original's.
    """

    needs: ClassVar[tuple[str, ...]] = ("expert",)
    closed_form: ClassVar[bool] = True
    space: ClassVar[dict[str, list[Any]]] = {"alpha": [-8.0, 0.0], "rho": [0.0, 0.99]}

    alpha: float = -1.0
    rho: float = 0.9
    recalibrate: bool = False

    def __post_init__(self) -> None:
        require(-100 <= self.alpha <= 100, f"alpha must lie in [-100, 100], not {self.alpha}")
        require(0 <= self.rho <= 1, f"rho must lie in [0, 1], not {self.rho}")

    def __call__(
        self, model: Any, splits: Splits, generator: torch.Generator, **needs: Any
    ) -> Unlearned:
        vector: TaskVector = needs["expert"]
        weights = edited(model, lambda name, p: p + self.alpha * vector.masked(name, self.rho))
        if self.recalibrate:
            weights = recalibrated(model, weights, splits, generator)
        return Unlearned(weights)

    def operate(
        self, writer: CandidateWriter, splits: Splits, generator: torch.Generator
    ) -> nn.Module:
        """The same model up to rounding, in the writer's scratch copy: what many candidates in turn are read from."""
        model = writer.operate(self.alpha, self.rho)
        if self.recalibrate:
            recalibrate(model, splits.train.retain, generator)
        return writer.folded.refresh()


def recalibrated(
    model: Any, weights: Weights, splits: Splits, generator: torch.Generator
) -> Weights:
    """`weights` with batch-norm statistics measured on retained training images; `model` gives the architecture."""
    scratch = copy.deepcopy(model)
    scratch.load_state_dict(weights)
    recalibrate(scratch, splits.train.retain, generator)
    return snapshot(scratch)
