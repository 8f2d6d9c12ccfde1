"""Convolutional conditional VAE: the network of the grey-target reference (seed 002), at any size of image."""

import torch
from torch import Tensor, nn

from unlearn.errors import require
from unlearn.models.base import Generative


class ConvCVAE(Generative):
    """Two stride-2 convolutions each way (32 and 64 channels); one label plane a class joins the encoder's input.

    encoder (channels + classes) - 32 - 64 - (mu, logvar); decoder z + classes - 64 - 32 - channels. Odd sizes come
    back exactly, by output padding. The decoder returns logits; pixels are Bernoulli means in [0, 1].
    """

    def __init__(self, shape: tuple[int, int, int], classes: int, z_dim: int = 20) -> None:
        super().__init__()
        channels, height, width = shape
        require(
            min(height, width) >= 4,
            f"cvae-conv needs images of at least 4 x 4, not {height} x {width}",
        )
        self.shape, self.classes, self.z_dim = shape, classes, z_dim
        halves = (height // 2, width // 2)
        self.small = (64, halves[0] // 2, halves[1] // 2)
        places = 64 * self.small[1] * self.small[2]
        self.conv1 = nn.Conv2d(channels + classes, 32, 4, 2, 1)
        self.conv2 = nn.Conv2d(32, 64, 4, 2, 1)
        self.mu = nn.Linear(places, z_dim)
        self.logvar = nn.Linear(places, z_dim)
        self.spread = nn.Linear(z_dim + classes, places)
        self.deconv1 = nn.ConvTranspose2d(
            64, 32, 4, 2, 1, output_padding=(halves[0] % 2, halves[1] % 2)
        )
        self.deconv2 = nn.ConvTranspose2d(
            32, channels, 4, 2, 1, output_padding=(height % 2, width % 2)
        )

    def encode(self, x: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        planes = c[:, :, None, None].expand(-1, -1, *self.shape[1:])
        h = self.conv1(torch.cat([x, planes], 1)).relu()
        h = self.conv2(h).relu().flatten(1)
        return self.mu(h), self.logvar(h)

    def decode(self, z: Tensor, c: Tensor) -> Tensor:
        h = self.spread(torch.cat([z, c], 1)).relu().unflatten(1, self.small)
        return self.deconv2(self.deconv1(h).relu())
