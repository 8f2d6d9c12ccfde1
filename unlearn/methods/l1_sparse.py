"""l1-sparse unlearning (arXiv:2304.04934): fine-tune on what is kept while small weights are driven to zero."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unlearn.data import Splits
from unlearn.errors import require
from unlearn.feeds import Numbers
from unlearn.methods.base import Unlearned
from unlearn.methods.iterative import Iterative, copy_of


def fading_l1(model: nn.Module, gamma: float, steps: int) -> Callable[[], dict[str, Tensor]]:
    """For `descend`: the gradient of gamma_t |theta|_1, gamma_t falling from gamma to 0 over `steps` calls."""
    theta = list(model.parameters())
    fading = Numbers(((gamma * (1 - step / steps),) for step in range(steps)), theta[0].device)

    @torch.no_grad()
    def add_gradients() -> dict[str, Tensor]:
        (gamma_t,) = next(fading)
        moving: list[Tensor] = [p for p in theta if p.grad is not None]
        gradients = [p.grad for p in moving if p.grad is not None]
        pull = torch._foreach_sign(moving)
        torch._foreach_mul_(pull, gamma_t)
        torch._foreach_add_(gradients, pull)
        return {"l1": gamma_t * torch.stack(torch._foreach_norm(moving, 1)).sum()}

    return add_gradients


@dataclass(frozen=True)
class L1Sparse(Iterative):
    """L = CE(retain) + gamma_t |theta|_1, gamma_t falling linearly to 0 (the paper's best schedule, its section 4).

    The authors step with SGD; under Adam, which rescales gradients, a gamma acts more strongly.
    """

    space: ClassVar[dict[str, list[Any]]] = {"gamma": [1e-5, 1e-3], "lr": [3e-4, 1e-2]}

    gamma: float = 3e-4
    steps: int = 500

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.gamma >= 0, f"gamma must be at least 0, not {self.gamma}")

    def __call__(
        self, model: Any, splits: Splits, generator: torch.Generator, **needs: Any
    ) -> Unlearned:
        pupil = copy_of(model)
        retain = self.batches(model, splits.train.retain, generator)

        def terms() -> dict[str, Tensor]:
            x, y = next(retain)
            return {"retain": F.cross_entropy(pupil(x), y)}

        return self.settle(pupil, terms, generator, fading_l1(pupil, self.gamma, self.steps))
