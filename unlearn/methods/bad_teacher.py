"""Bad teacher (arXiv:2205.08096): learn retained images from the original, forgotten ones from a
random network."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from unlearn.errors import require
from unlearn.methods.base import Losses, SearchSpace, Unlearned
from unlearn.methods.iterative import Iterative, training_copy
from unlearn.methods.scrub import distillation_loss
from unlearn.models.fresh import fresh
from unlearn.splits import Splits


@dataclass(frozen=True)
class BadTeacher(Iterative):
    """Minimise KL(T_d(x_f) || S(x_f)) + KL(T_s(x_r) || S(x_r)), nats per image.

    S is the student, T_s the original (the competent teacher), T_d the same architecture at
    random weights (the incompetent teacher). The student learns a random network's answers to
    forgotten images, which are not those of the retrained oracle: ZRF is high, and so is the gap
    to the oracle. The authors shuffle forgotten and retained images into one data set, so that
    their batches hold as few forgotten ones as it does; here every step reads a batch of each.

    temperature: divides the logits of teachers and student, above 0; both losses are scaled by its
        square. 1 in the paper.
    steps: number of optimiser steps, at least 1.
    lr: peak learning rate, above 0.
    """

    reads: ClassVar[str] = "forget"
    space: ClassVar[SearchSpace] = {"temperature": [1.0, 4.0], "lr": [1e-4, 3e-3]}
    epoch_space: ClassVar[SearchSpace] = {**space, "epochs": [8.0, 32.0]}

    temperature: float = 1.0
    steps: int = 100
    lr: float = 1e-3

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.temperature > 0, f"temperature must be above 0, not {self.temperature}")

    def unlearn(
        self, model: Any, splits: Splits, generator: torch.Generator, **needs: Any
    ) -> Unlearned:
        student = training_copy(model)
        incompetent = self.teacher(fresh(model, generator))
        competent = self.teacher(model)
        forget, retain = self.forget_retain_batches(model, splits, generator)

        def losses() -> Losses:
            x_f, _ = next(forget)
            x_r, _ = next(retain)
            with torch.no_grad():
                random_logits = self.logits(incompetent, x_f)
                original_logits = self.logits(competent, x_r)
            forget_logits = self.steady_logits(student, x_f)
            forget_loss = distillation_loss(forget_logits, random_logits, self.temperature)
            retain_logits = self.logits(student, x_r)
            retain_loss = distillation_loss(retain_logits, original_logits, self.temperature)
            return {"forget": forget_loss, "retain": retain_loss}

        return self.minimise(student, losses, generator)
