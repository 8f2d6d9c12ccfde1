"""NegGrad+ (arXiv:2302.09880): gradient ascent on the forgotten images, descent on the retained."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F

from unlearn.errors import require
from unlearn.methods.base import Losses, SearchSpace, Unlearned
from unlearn.methods.iterative import Iterative, training_copy
from unlearn.splits import Splits


@dataclass(frozen=True)
class NegGradPlus(Iterative):
    """Minimise beta CE(x_r, y_r) - (1 - beta) CE(x_f, y_f), nats per image.

    The baseline of the SCRUB paper (arXiv:2302.09880, section 4). Norm layers take statistics
    from retained images alone. The ascent is unbounded: a low beta wrecks the model, which the
    forget accuracy does not show. Read the retain accuracy beside it.

    beta: weight of the retained images, in [0, 1]; 1 is fine-tuning, 0 gradient ascent.
    steps: number of optimiser steps, at least 1.
    lr: peak learning rate, above 0.
    """

    reads: ClassVar[str] = "forget"
    space: ClassVar[SearchSpace] = {"beta": [0.9, 0.9999], "lr": [1e-4, 3e-3]}
    epoch_space: ClassVar[SearchSpace] = {**space, "epochs": [8.0, 32.0]}

    beta: float = 0.99
    steps: int = 100
    lr: float = 5e-4

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 <= self.beta <= 1, f"beta must lie in [0, 1], not {self.beta}")

    def unlearn(
        self, model: Any, splits: Splits, generator: torch.Generator, **needs: Any
    ) -> Unlearned:
        student = training_copy(model)
        forget, retain = self.forget_retain_batches(model, splits, generator)

        def losses() -> Losses:
            x_f, y_f = next(forget)
            x_r, y_r = next(retain)
            forget_ce = F.cross_entropy(self.steady_logits(student, x_f), y_f)
            forget_loss = -(1 - self.beta) * forget_ce
            retain_loss = self.beta * F.cross_entropy(self.logits(student, x_r), y_r)
            return {"forget": forget_loss, "retain": retain_loss}

        return self.minimise(student, losses, generator)
