"""Boundary expand (CVPR 2023, Chen et al., "Boundary Unlearning"): train forgotten images into a
class of their own, then cut it off."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unlearn.errors import lookup, require
from unlearn.methods.base import Losses, SearchSpace, Unlearned
from unlearn.methods.iterative import NORMS, Iterative, forgotten_logits, training_copy
from unlearn.splits import Splits
from unlearn.streams import globally, layer_noise
from unlearn.train import descend, snapshot


class Widened(nn.Module):
    """A classifier with one more class, the shadow class, whose logit is linear in the features."""

    def __init__(self, network: Any, features: int) -> None:
        super().__init__()
        self.network = network
        self.shadow = nn.Linear(features, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Compute logits (n, classes + 1)."""
        features = self.network.features(x)
        return torch.cat([self.network.head(features), self.shadow(features)], 1)


@dataclass(frozen=True)
class BoundaryExpand(Iterative):
    """Minimise CE(x_f, shadow class) + alpha CE(x_r, y_r) over a widened network, then narrow it.

    The shadow class has a row of weights of its own, drawn anew. The paper reads no retained image:
    alpha = 0. Cutting the class off leaves the features that were moved for it.

    alpha: weight of the retained images, at least 0; at 0 they are not read.
    steps: number of optimiser steps, at least 1.
    lr: peak learning rate, above 0.
    norms: statistics that normalise the forgotten images. `running` takes the running ones and
        leaves them as they are, `batch` (the authors' code) those of the batch, which then count.
    """

    reads: ClassVar[str] = "forget"
    space: ClassVar[SearchSpace] = {"alpha": [0.1, 3.0], "lr": [1e-4, 3e-3]}
    epoch_space: ClassVar[SearchSpace] = {**space, "epochs": [5.0, 20.0]}

    alpha: float = 0.0
    steps: int = 60
    lr: float = 1e-4
    norms: str = "running"

    def __post_init__(self) -> None:
        super().__post_init__()
        lookup("norms", self.norms, NORMS)
        require(self.alpha >= 0, f"alpha must be at least 0, not {self.alpha}")

    def unlearn(
        self, model: Any, splits: Splits, generator: torch.Generator, **needs: Any
    ) -> Unlearned:
        student = widened(model, splits.train.forget.x[:2].float() / 255, generator)
        forget, retain = self.forget_retain_batches(model, splits, generator)

        def losses() -> Losses:
            x_f, y_f = next(forget)
            logits = forgotten_logits(student, x_f, self.norms)
            shadow = torch.full_like(y_f, logits.shape[1] - 1)
            found = {"forget": F.cross_entropy(logits, shadow)}
            if self.alpha > 0:
                x_r, y_r = next(retain)
                found["retain"] = self.alpha * F.cross_entropy(student(x_r), y_r)
            return found

        with layer_noise(student, generator):
            curve = descend(student, losses, self.training())
        return Unlearned(snapshot(student.network), curve)


@torch.no_grad()
def widened(model: Any, x: Tensor, generator: torch.Generator) -> Widened:
    """Return a copy of the model in training mode with a shadow class, drawn from `generator`.

    x: some images, pixels in [0, 1], to see how many features the head reads
    """
    device = next(model.parameters()).device
    features = model.features(x.to(device))
    with globally(generator):
        made = Widened(training_copy(model), features.shape[1])
    made.shadow.to(device, features.dtype)
    return made.train()
