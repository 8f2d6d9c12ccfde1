"""What the science asks of a model, beyond being an `nn.Module`."""

from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn


class Generative(nn.Module):
    """A conditional VAE whose pixels are Bernoulli means in [0, 1].

    shape: (channels, height, width) of one image
    classes: number of labels; a label is passed as `c` (n, classes), one-hot or soft
    z_dim: size of the latent
    """

    task: ClassVar[str] = "generator"
    shape: tuple[int, int, int]
    classes: int
    z_dim: int

    def encode(self, x: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        """Encode images (n, *shape) with labels (n, classes).

        Returns mean and log variance of q(z | x, c), each (n, z_dim).
        """
        raise TypeError(f"{type(self).__name__} must define encode")

    def decode(self, z: Tensor, c: Tensor) -> Tensor:
        """Decode latents (n, z_dim) with labels (n, classes) to pixel logits (n, *shape)."""
        raise TypeError(f"{type(self).__name__} must define decode")

    def forward(self, z: Tensor, c: Tensor) -> Tensor:
        """Return the decoder's mean image (n, *shape), pixels in [0, 1]."""
        return self.decode(z, c).sigmoid()

    def one_hot(self, labels: Tensor) -> Tensor:
        """Encode labels (n,) as float (n, classes)."""
        return F.one_hot(labels, self.classes).float()


class Classifying(nn.Module):
    """A classifier: images (n, channels, height, width) in [0, 1] -> logits (n, classes).

    A model that needs normalised images does that itself, as its first step.

    head: features (n, d) -> logits (n, classes)
    """

    task: ClassVar[str] = "classifier"
    head: nn.Module

    def features(self, x: Tensor) -> Tensor:
        """Compute the input of the head, (n, d)."""
        raise TypeError(f"{type(self).__name__} must define features")

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.head(self.features(x))
        return output
