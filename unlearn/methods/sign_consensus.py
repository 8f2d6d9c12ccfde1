"""Task arithmetic from several experts: only where enough of them agree on a sign is anything taken away."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from unlearn.errors import require
from unlearn.methods.base import Method, Unlearned, edited
from unlearn.methods.task_arithmetic import recalibrated
from unlearn.splits import Splits


def trimmed(tau: Tensor, rho: float) -> Tensor:
    """tau with its smallest entries by magnitude, a share `rho` of the tensor, set to 0."""
    rank = min(int(rho * tau.numel()), tau.numel() - 1)
    return tau * (tau.abs() >= tau.abs().flatten().kthvalue(rank + 1).values)


def elected(taus: Tensor, agreement: float) -> Tensor:
    """Merge task vectors (experts, ...): elect each entry's sign by the larger sum, keep the entries of that sign,
    average those; 0 where fewer than a share `agreement` of the experts hold it."""
    sign = taus.sum(0).sign()
    holds = (taus.sign() == sign) & (taus != 0)
    count = holds.sum(0)
    merged = (taus * holds).sum(0) / count.clamp(min=1)
    return torch.where(count >= max(agreement * len(taus), 1), merged, torch.zeros_like(merged))


@dataclass(frozen=True)
class SignConsensus(Method):
    """theta = theta_pre + alpha * merge(tau_1 .. tau_n): trim (rho), elect a sign, average (TIES, arXiv:2306.01708).

    agreement = 0 is TIES, trimmed tensor by tensor where TIES trims all of them by one threshold; agreement = 1 at
    rho = 0 keeps what all experts agree on (NegMerge, arXiv:2410.05583). One expert is plain task arithmetic, its mask
    by rank. `needs["experts"]` is a list of weights, from experts trained apart.
    """

    tasks: ClassVar[tuple[str, ...]] = ("classifier",)
    needs: ClassVar[tuple[str, ...]] = ("experts",)
    closed_form: ClassVar[bool] = True
    space: ClassVar[dict[str, list[Any]]] = {
        "alpha": [-8.0, 0.0],
        "rho": [0.0, 0.99],
        "agreement": [0.0, 1.0],
    }

    alpha: float = -1.0
    rho: float = 0.8
    agreement: float = 1.0
    recalibrate: bool = False

    def __post_init__(self) -> None:
        require(-100 <= self.alpha <= 100, f"alpha must lie in [-100, 100], not {self.alpha}")
        require(0 <= self.rho <= 1, f"rho must lie in [0, 1], not {self.rho}")
        require(0 <= self.agreement <= 1, f"agreement must lie in [0, 1], not {self.agreement}")

    def __call__(
        self, model: Any, splits: Splits, generator: torch.Generator, **needs: Any
    ) -> Unlearned:
        experts = needs["experts"]
        require(len(experts) > 0, "sign-consensus needs at least one expert; give their weights")

        def change(name: str, p: Tensor) -> Tensor:
            taus = torch.stack([trimmed(expert[name].to(p) - p, self.rho) for expert in experts])
            return p + self.alpha * elected(taus, self.agreement)

        weights = edited(model, change)
        if self.recalibrate:
            weights = recalibrated(model, weights, splits, generator)
        return Unlearned(weights)
