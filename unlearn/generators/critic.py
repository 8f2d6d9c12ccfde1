"""A critic that reads the label off the latent; the encoder learns to give it nothing to read (arXiv:1706.00409).

A CVAE's latent may tell the class as well as the label does. Then the label is ignored wherever the two disagree, and
they do under z ~ N(0, I): a "7" drawn at a 3's latent is no 7.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class _Reversed(torch.autograd.Function):
    """The identity, with its gradient turned round and multiplied (arXiv:1505.07818)."""

    generate_vmap_rule = True  # several models may train as one (`unlearn.stacked`)

    @staticmethod
    def forward(z: Tensor, weight: float) -> Tensor:
        return z.view_as(z)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, float], output: Tensor) -> None:
        ctx.weight = inputs[1]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return -ctx.weight * gradients[0], None


class LabelCritic(nn.Module):
    """z (n, z_dim), c (n, classes) -> cross-entropy of the guessed label per image (n,), nats. What comes before it
    climbs `weight` times that cross-entropy while the critic itself descends; ln classes means z tells nothing."""

    def __init__(self, z_dim: int, classes: int, weight: float, width: int = 64) -> None:
        super().__init__()
        self.weight = weight
        self.guess = nn.Sequential(
            nn.Linear(z_dim, width),
            nn.ReLU(),
            nn.Linear(width, width),
            nn.ReLU(),
            nn.Linear(width, classes),
        )

    def forward(self, z: Tensor, c: Tensor) -> Tensor:
        return F.cross_entropy(self.guess(_Reversed.apply(z, self.weight)), c, reduction="none")
