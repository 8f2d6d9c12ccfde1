"""Boundary expand (CVPR 2023, Chen et al., "Boundary Unlearning"): train forgotten images into a
class of their own, then cut it off."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from unlearn.methods.base import Losses, Unlearned
from unlearn.methods.boundary import Boundary
from unlearn.methods.iterative import training_copy
from unlearn.splits import Splits
from unlearn.streams import globally
from unlearn.train import snapshot


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
class BoundaryExpand(Boundary):
    """Minimise CE(x_f, shadow class) + alpha CE(x_r, y_r) over a widened network, then narrow it.

    The shadow class has a row of weights of its own, drawn anew. The paper reads no retained image:
    alpha = 0. Cutting the class off leaves the features that were moved for it.

    lr: peak learning rate, above 0.
    """

    lr: float = 1e-4

    def unlearn(
        self, model: Any, splits: Splits, generator: torch.Generator, **needs: Any
    ) -> Unlearned:
        few = splits.train.forget.x[:2].float() / 255
        student = widened(model, few, generator)
        shadow = classes_of(model, few)  # the label of the shadow class
        forget, retain = self.forget_retain_batches(model, splits, generator)

        def losses() -> Losses:
            x_f, y_f = next(forget)
            labels = torch.full_like(y_f, shadow)
            return self.losses_of(student, x_f, labels, retain)

        curve = self.minimise(student, losses, generator).curve
        return Unlearned(snapshot(student.network), curve)


@torch.no_grad()
def classes_of(model: Any, x: Tensor) -> int:
    """Return how many logits the model gives for images `x`, pixels in [0, 1]."""
    logits: Tensor = model(x.to(next(model.parameters()).device))
    return logits.shape[1]


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
