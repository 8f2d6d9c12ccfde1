"""Task arithmetic (arXiv:2212.04089) with a magnitude mask: walk away from an expert of the forgotten class."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from unlearn.data import Splits
from unlearn.errors import require
from unlearn.methods.base import Method, Unlearned
from unlearn.models import Weights


class TaskVector:
    """tau = theta_expert - theta_original over the parameters, with |tau| sorted once per tensor.

    Running statistics of norms are buffers, not parameters, and are left out. Holds copies; shares nothing.
    """

    def __init__(self, original: nn.Module, expert: Weights) -> None:
        self.tau = {name: expert[name].to(p) - p.detach() for name, p in original.named_parameters()}
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


@dataclass(frozen=True)
class TaskArithmetic(Method):
    """theta = theta_pre + alpha * mask(tau, rho); alpha < 0 forgets, rho is the share of each tensor left alone.

    alpha = 0 is the original, bit for bit; alpha = 1, rho = 0 is the expert.
    """

    needs: ClassVar[tuple[str, ...]] = ("expert",)
    closed_form: ClassVar[bool] = True

    alpha: float = -1.0
    rho: float = 0.9

    def __post_init__(self) -> None:
        require(-100 <= self.alpha <= 100, f"alpha must lie in [-100, 100], not {self.alpha}")
        require(0 <= self.rho <= 1, f"rho must lie in [0, 1], not {self.rho}")

    def __call__(self, model: Any, splits: Splits, generator: torch.Generator, **needs: Any) -> Unlearned:
        vector: TaskVector = needs["expert"]
        weights = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
        for name in vector.tau:
            weights[name] += self.alpha * vector.masked(name, self.rho)
        return Unlearned(weights)
