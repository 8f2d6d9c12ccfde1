"""Convolutional conditional VAE: the network of the grey-target reference (seed 002)."""

import torch
from torch import Tensor, nn

from unlearn.errors import require
from unlearn.models.base import Generative


class ConvCVAE(Generative):
    """Two convolutions of stride 2 each way, 32 and 64 channels; for images of any size.

    Encoder: (channels + classes) - 32 - 64 - (mu, logvar); the input has one constant plane per
    class, which holds the label. Decoder: (z + classes) - 64 - 32 - channels; output padding
    restores odd sizes exactly. The decoder returns logits; pixels are Bernoulli means in [0, 1].

    shape: (channels, height, width) of one image, at least 4 x 4, else `BadInput`
    classes: number of labels
    z_dim: size of the latent
    """

    def __init__(self, shape: tuple[int, int, int], classes: int, z_dim: int = 20) -> None:
        super().__init__()
        channels, height, width = shape
        require(
            min(height, width) >= 4,
            f"cvae-conv needs images of at least 4 x 4, not {height} x {width}; use another model",
        )
        self.shape, self.classes, self.z_dim = shape, classes, z_dim
        half_height, half_width = height // 2, width // 2
        self.small = (64, half_height // 2, half_width // 2)  # the encoder's last map
        units = self.small[0] * self.small[1] * self.small[2]
        self.conv1 = nn.Conv2d(channels + classes, 32, 4, 2, 1)
        self.conv2 = nn.Conv2d(32, 64, 4, 2, 1)
        self.mu = nn.Linear(units, z_dim)
        self.logvar = nn.Linear(units, z_dim)
        self.spread = nn.Linear(z_dim + classes, units)
        odd_halves = (half_height % 2, half_width % 2)
        odd_sides = (height % 2, width % 2)
        self.deconv1 = nn.ConvTranspose2d(64, 32, 4, 2, 1, output_padding=odd_halves)
        self.deconv2 = nn.ConvTranspose2d(32, channels, 4, 2, 1, output_padding=odd_sides)

    def encode(self, x: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        planes = c[:, :, None, None].expand(-1, -1, *self.shape[1:])
        h = self.conv1(torch.cat([x, planes], 1)).relu()
        h = self.conv2(h).relu().flatten(1)
        return self.mu(h), self.logvar(h)

    def decode(self, z: Tensor, c: Tensor) -> Tensor:
        h = self.spread(torch.cat([z, c], 1)).relu()
        h = self.deconv1(h.unflatten(1, self.small)).relu()
        output: Tensor = self.deconv2(h)
        return output
