"""l1-sparse unlearning (arXiv:2304.04934): fine-tune on the retained images under an l1 penalty."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unlearn.errors import require
from unlearn.feeds import Numbers
from unlearn.methods.base import Losses, SearchSpace, StepFunction, Unlearned
from unlearn.methods.iterative import Iterative, training_copy
from unlearn.splits import Splits


@dataclass(frozen=True)
class L1Sparse(Iterative):
    """Minimise CE(x_r, y_r) + gamma_t |theta|_1, where gamma_t falls linearly from `gamma` to 0.

    The linear decay is the best schedule of the paper (section 4). The authors step with SGD;
    Adam rescales gradients, so that a given gamma acts more strongly here.

    gamma: weight of the l1 norm of all weights in the first step, at least 0.
    steps: number of optimiser steps, over which gamma_t falls; at least 1.
    """

    space: ClassVar[SearchSpace] = {"gamma": [1e-5, 1e-3], "lr": [3e-4, 1e-2]}
    epoch_space: ClassVar[SearchSpace] = {**space, "epochs": [5.0, 20.0]}

    gamma: float = 3e-4
    steps: int = 500

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.gamma >= 0, f"gamma must be at least 0, not {self.gamma}")

    def unlearn(
        self, model: Any, splits: Splits, generator: torch.Generator, **needs: Any
    ) -> Unlearned:
        student = training_copy(model)
        retain = self.batches(model, splits.train.retain, generator)
        penalty = decaying_l1(student, self.gamma, self.steps)

        def losses() -> Losses:
            x, y = next(retain)
            return {"retain": F.cross_entropy(self.logits(student, x), y)}

        return self.minimise(student, losses, generator, penalty)


def decaying_l1(model: nn.Module, gamma: float, steps: int) -> StepFunction:
    """Return the `add_gradients` of `descend` that adds the gradient of gamma_t |theta|_1.

    gamma_t = gamma (1 - t / steps) at call t = 0, 1, ..., steps - 1. Parameters without a
    gradient are left out. Reports the penalty as `l1`.
    """
    parameters = list(model.parameters())
    values = ((gamma * (1 - step / steps),) for step in range(steps))
    decaying = Numbers(values, parameters[0].device)

    @torch.no_grad()
    def add_gradients() -> Losses:
        (gamma_t,) = next(decaying)
        moving: list[Tensor] = [p for p in parameters if p.grad is not None]
        gradients = [p.grad for p in moving if p.grad is not None]
        signs = torch._foreach_sign(moving)
        torch._foreach_mul_(signs, gamma_t)
        torch._foreach_add_(gradients, signs)
        norms = torch._foreach_norm(moving, 1)
        penalty: Tensor = gamma_t * torch.stack(norms).sum()
        return {"l1": penalty}

    return add_gradients
