"""Task arithmetic with several experts: change only the weights whose experts agree on a sign."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from unlearn.errors import lookup, require
from unlearn.knobs import later
from unlearn.methods.base import Method, SearchSpace, Unlearned, map_parameters
from unlearn.methods.task_arithmetic import recalibrated
from unlearn.methods.task_vector import TAU_NORMS, relative_scale
from unlearn.models import Weights
from unlearn.splits import Splits


@dataclass(frozen=True)
class SignConsensus(Method):
    """theta = theta_pre + alpha merge(tau_1, ..., tau_n): trim, elect a sign, average (TIES).

    tau_i is the task vector of expert i; `needs["experts"]` is a list of the weights of experts
    that were trained independently. agreement = 0 is TIES (arXiv:2306.01708), but trimmed tensor
    by tensor, where TIES trims all tensors by one threshold. agreement = 1 with rho = 0 keeps what
    all experts agree on (NegMerge, arXiv:2410.05583); its experts are fine-tuned with different
    hyperparameters, ours differ in the order of their images alone. One expert is plain task
    arithmetic, masked by rank.

    alpha: step along the merged task vector; below 0 it forgets. In [-100, 100].
    rho: share of each tensor's entries, the smallest in magnitude, that is trimmed to 0. In [0, 1].
    agreement: share of the experts that must have the elected sign for an entry to change. In
        [0, 1].
    recalibrate: whether batch norms' running statistics are measured anew on retained training
        images.
    tau_norm: `none`, or `unit-relative`, which scales each tau to the norm of theta_pre, so that
        alpha means the same for every network and expert.
    """

    tasks: ClassVar[tuple[str, ...]] = ("classifier",)
    needs: ClassVar[tuple[str, ...]] = ("experts",)
    closed_form: ClassVar[bool] = True
    space: ClassVar[SearchSpace] = {
        "alpha": [-8.0, 0.0],
        "rho": [0.0, 0.99],
        "agreement": [0.0, 1.0],
    }
    epoch_space: ClassVar[SearchSpace] = {
        "alpha": [-0.15, 0.0],
        "rho": [0.0, 0.99],
        "agreement": [0.0, 1.0],
        "tau_norm": ["unit-relative"],
    }

    alpha: float = -1.0
    rho: float = 0.8
    agreement: float = 1.0
    recalibrate: bool = False
    tau_norm: str = later("none")

    def __post_init__(self) -> None:
        lookup("tau_norm", self.tau_norm, TAU_NORMS)
        require(-100 <= self.alpha <= 100, f"alpha must lie in [-100, 100], not {self.alpha}")
        require(0 <= self.rho <= 1, f"rho must lie in [0, 1], not {self.rho}")
        require(0 <= self.agreement <= 1, f"agreement must lie in [0, 1], not {self.agreement}")

    def __call__(
        self, model: Any, splits: Splits, generator: torch.Generator, **needs: Any
    ) -> Unlearned:
        experts = needs["experts"]
        require(len(experts) > 0, "sign-consensus needs at least one expert, not 0; give weights")
        scales = [self.scale_of(model, expert) for expert in experts]

        def change(name: str, p: Tensor) -> Tensor:
            taus = []
            for expert, scale in zip(experts, scales, strict=True):
                taus.append(trim(expert[name].to(p) - p, self.rho) * scale)
            merged = merge_by_sign(torch.stack(taus), self.agreement)
            return p + self.alpha * merged

        weights = map_parameters(model, change)
        if self.recalibrate:
            weights = recalibrated(model, weights, splits, generator)
        return Unlearned(weights)

    def scale_of(self, model: Any, expert: Weights) -> float:
        """Return the factor on an expert's task vector."""
        if self.tau_norm == "none":
            return 1.0
        theta = {name: p.detach() for name, p in model.named_parameters()}
        tau = {name: expert[name].to(p) - p for name, p in theta.items()}
        return relative_scale(theta, tau)


def trim(tau: Tensor, rho: float) -> Tensor:
    """Return `tau` with the share `rho` of its entries that is smallest in magnitude set to 0.

    The largest entry always stays.
    """
    n = tau.numel()
    rank = min(int(rho * n), n - 1)  # of the smallest magnitude that stays, from 0
    threshold = tau.abs().flatten().kthvalue(rank + 1).values
    return tau * (tau.abs() >= threshold)


def merge_by_sign(taus: Tensor, agreement: float) -> Tensor:
    """Merge task vectors (experts, ...) entry by entry.

    The sign of the sum is elected; the mean of the entries with that sign is taken, or 0 where
    fewer than the share `agreement` of the experts have it.
    """
    elected = taus.sum(0).sign()
    agrees = (taus.sign() == elected) & (taus != 0)
    count = agrees.sum(0)
    mean = (taus * agrees).sum(0) / count.clamp(min=1)
    needed = max(agreement * len(taus), 1)
    return torch.where(count >= needed, mean, torch.zeros_like(mean))
