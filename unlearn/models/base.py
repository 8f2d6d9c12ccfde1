"""What the science asks of a model, beyond being an `nn.Module`."""

from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn


class Generative(nn.Module):
    """A conditional VAE: labels are `c` (n, classes), one-hot or soft; pixels are Bernoulli means in [0, 1]."""

    task: ClassVar[str] = "generator"
    shape: tuple[int, int, int]  # (channels, height, width)
    classes: int
    z_dim: int

    def encode(self, x: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        """Images (n, *shape), labels (n, classes) -> mean and log variance of q(z | x, c), each (n, z_dim)."""
        raise TypeError(f"{type(self).__name__} must define encode")

    def decode(self, z: Tensor, c: Tensor) -> Tensor:
        """Latents (n, z_dim) and labels (n, classes) -> pixel logits (n, *shape)."""
        raise TypeError(f"{type(self).__name__} must define decode")

    def forward(self, z: Tensor, c: Tensor) -> Tensor:
        """The image that (z, c) stands for: the decoder's mean (n, *shape) in [0, 1]."""
        return self.decode(z, c).sigmoid()

    def one_hot(self, labels: Tensor) -> Tensor:
        """Labels (n,) -> float (n, classes)."""
        return F.one_hot(labels, self.classes).float()


class Classifying(nn.Module):
    """A classifier: images (n, channels, height, width) in [0, 1] -> logits (n, classes).

    Normalisation by a data set's mean and deviation, where a model wants it, is the model's own first step.
    """

    task: ClassVar[str] = "classifier"
    head: nn.Module  # features -> logits

    def features(self, x: Tensor) -> Tensor:
        """What the head sees, (n, d)."""
        raise TypeError(f"{type(self).__name__} must define features")

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))
