"""Two-stage unlearning (seed 003, reference 4): first push the answers to forgotten images towards
uniform, then train them apart from those to retained images."""

from dataclasses import dataclass, replace
from math import log
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from unlearn.errors import lookup, require
from unlearn.methods.base import Losses, SearchSpace, StepFunction, Unlearned, join_curves
from unlearn.methods.iterative import Batches, Iterative, training_copy
from unlearn.splits import Splits

READINGS = {"full": "one pass over the forgotten images", "one-batch": "one mini-batch"}


@dataclass(frozen=True)
class TwoStage(Iterative):
    """Stage 1 minimises KL(u || p(x_f)), u uniform; stage 2 contrastive(Z_f, Z_r) + CE(x_r, y_r).

    Z are the logits of a batch. Each stage has its own optimiser. The curve of both is joined;
    `retain` is 0 in stage 1.

    temperature: divides the inner products of the contrastive loss; above 0.
    reading: length of stage 1. The README of reference 4 applies it to D_f (`full`, one pass), its
        code takes one mini-batch (`one-batch`).
    schedule: course of the learning rate in each stage, `one-cycle`, `cosine` or `constant`.
    """

    space: ClassVar[SearchSpace] = {
        "temperature": [0.5, 5.0],
        "lr": [1e-4, 3e-3],
        "reading": ["full", "one-batch"],
    }
    epoch_space: ClassVar[SearchSpace] = {**space, "epochs": [2.0, 8.0]}

    temperature: float = 1.15
    reading: str = "full"
    schedule: str = "constant"

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.temperature > 0, f"temperature must be above 0, not {self.temperature}")
        lookup("reading", self.reading, READINGS)

    def unlearn(
        self, model: Any, splits: Splits, generator: torch.Generator, **needs: Any
    ) -> Unlearned:
        student = training_copy(model)
        forget, retain = self.forget_retain_batches(model, splits, generator)
        first = replace(self, steps=self.first_steps(len(splits.train.forget)))
        one = first.minimise(student, self.first_losses(student, forget), generator)
        two = self.minimise(student, self.second_losses(student, forget, retain), generator)
        return Unlearned(two.weights, join_curves([one.curve, two.curve]))

    def first_steps(self, images: int) -> int:
        """Return the number of steps of stage 1 for a forget set of so many images."""
        size = min(self.batch, images)
        return images // size if self.reading == "full" else 1

    def first_losses(self, student: Any, forget: Batches) -> StepFunction:
        """Return the function that computes the losses of stage 1: `forget`, and `retain` of 0."""

        def losses() -> Losses:
            x_f, _ = next(forget)
            loss = kl_from_uniform(self.steady_logits(student, x_f))
            return {"forget": loss, "retain": torch.zeros_like(loss)}

        return losses

    def second_losses(self, student: Any, forget: Batches, retain: Batches) -> StepFunction:
        """Return the function that computes the losses of stage 2: `forget` and `retain`."""

        def losses() -> Losses:
            x_r, y_r = next(retain)
            x_f, _ = next(forget)
            z_f = self.steady_logits(student, x_f)
            z_r = self.logits(student, x_r)
            forget_loss = contrastive_loss(z_f, z_r, self.temperature)
            return {"forget": forget_loss, "retain": F.cross_entropy(z_r, y_r)}

        return losses


def kl_from_uniform(logits: Tensor) -> Tensor:
    """Return the mean KL(u || p) over a batch of logits (n, classes), in nats; u is uniform."""
    log_p = logits.log_softmax(1)
    return -log_p.mean() - log(logits.shape[1])


def contrastive_loss(z_forget: Tensor, z_retain: Tensor, temperature: float) -> Tensor:
    """Return the mean of -log softmax(Z_f Z_r^T / temperature) over all entries, in nats.

    The softmax of each forgotten image runs over the retained batch; no gradient flows into Z_r.
    """
    similarity = z_forget @ z_retain.detach().T / temperature
    return -similarity.log_softmax(1).mean()
