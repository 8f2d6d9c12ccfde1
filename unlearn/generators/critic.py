"""A critic that predicts the label from the latent, against which the encoder is trained
(arXiv:1706.00409).

The latent of a CVAE may carry the class as well as the label does. The decoder then ignores the
label wherever the two disagree, as they do under z ~ N(0, I): a "7" drawn at the latent of a 3 is
no 7. The encoder learns to leave the critic nothing to predict from.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class LabelCritic(nn.Module):
    """Cross-entropy of the label predicted from z: (n, z_dim), (n, classes) -> (n,), in nats.

    The critic descends its cross-entropy, while the gradient that reaches z is reversed and
    multiplied by `weight`: the encoder ascends. A loss of ln(classes) means that z carries nothing
    of the label.
    """

    def __init__(self, z_dim: int, classes: int, weight: float, width: int = 64) -> None:
        super().__init__()
        self.weight = weight
        self.classifier = nn.Sequential(
            nn.Linear(z_dim, width),
            nn.ReLU(),
            nn.Linear(width, width),
            nn.ReLU(),
            nn.Linear(width, classes),
        )

    def forward(self, z: Tensor, c: Tensor) -> Tensor:
        reverse: Any = _GradientReversal.apply
        logits = self.classifier(reverse(z, self.weight))
        return F.cross_entropy(logits, c, reduction="none")


class _GradientReversal(torch.autograd.Function):
    """The identity, whose gradient is multiplied by -weight (arXiv:1505.07818)."""

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
