"""Conditional VAE on flat images: the network of Selective Amnesia (arXiv:2305.10120)."""

from collections.abc import Sequence
from itertools import pairwise
from math import prod

import torch
from torch import Tensor, nn

from unlearn.models.base import Generative


def mlp(widths: Sequence[int]) -> nn.Sequential:
    """Build linear layers of these widths, input first, with a ReLU after each."""
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers)


class CVAE(Generative):
    """Encoder and decoder MLPs; both take the label `c` (n, classes), one-hot or soft, as input.

    The decoder returns logits; pixels are Bernoulli means in [0, 1].

    shape: (channels, height, width) of one image
    classes: number of labels
    hidden: widths of the encoder's two layers; the decoder has them in reverse. (512, 256) is the
        paper's (1,081,120 parameters at 28 x 28), (256, 512) the "expanding" one (685,856)
    z_dim: size of the latent
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        classes: int,
        hidden: tuple[int, int] = (512, 256),
        z_dim: int = 8,
    ) -> None:
        super().__init__()
        self.shape, self.classes, self.z_dim = shape, classes, z_dim
        pixels = prod(shape)
        self.encoder = mlp([pixels + classes, *hidden])
        self.mu = nn.Linear(hidden[-1], z_dim)
        self.logvar = nn.Linear(hidden[-1], z_dim)
        self.decoder = mlp([z_dim + classes, *reversed(hidden)])
        self.pixels = nn.Linear(hidden[0], pixels)

    def encode(self, x: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        inputs = torch.cat([x.flatten(1), c], 1)
        h = self.encoder(inputs)
        return self.mu(h), self.logvar(h)

    def decode(self, z: Tensor, c: Tensor) -> Tensor:
        h = self.decoder(torch.cat([z, c], 1))
        output: Tensor = self.pixels(h).unflatten(1, self.shape)
        return output
