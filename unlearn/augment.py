"""Random changes of a training batch, on its device, from the given generator."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

Augment = Callable[[Tensor, torch.Generator], Tensor]


def none(x: Tensor, generator: torch.Generator) -> Tensor:
    return x


def _uniform(n: int, low: float, high: float, x: Tensor, generator: torch.Generator) -> Tensor:
    return torch.rand(n, generator=generator, device=generator.device).to(x) * (high - low) + low


def affine(x: Tensor, generator: torch.Generator) -> Tensor:
    """Rotate by up to 12 degrees, scale by up to 12 %, shift by up to 2 pixels of 28. (n, c, h, w) in and out."""
    n = len(x)
    angle = _uniform(n, -0.2, 0.2, x, generator)
    scale = _uniform(n, 0.88, 1.12, x, generator)
    dx, dy = _uniform(n, -0.14, 0.14, x, generator), _uniform(n, -0.14, 0.14, x, generator)
    cos, sin = angle.cos() * scale, angle.sin() * scale
    theta = torch.stack([torch.stack([cos, -sin, dx], 1), torch.stack([sin, cos, dy], 1)], 1)
    grid = F.affine_grid(theta, list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, align_corners=False)


def crop_flip(x: Tensor, generator: torch.Generator, pad: int = 4) -> Tensor:
    """Shift by up to `pad` whole pixels each way, zeros outside, and mirror half of the images left to right, each
    image on its own: torchvision's RandomCrop(padding=4) and RandomHorizontalFlip. (n, c, h, w) in and out."""
    n, channels, height, width = x.shape
    device = generator.device
    drawn = torch.randint(2 * pad + 1, (2, n, 1), generator=generator, device=device).to(x.device)
    flip = (torch.rand(n, 1, generator=generator, device=device) < 0.5).to(x.device)
    rows = drawn[0] + torch.arange(height, device=x.device)
    columns = torch.arange(width, device=x.device).expand(n, -1)
    columns = drawn[1] + torch.where(flip, columns.flip(1), columns)
    image, colour = (
        torch.arange(n, device=x.device)[:, None, None, None],
        torch.arange(channels, device=x.device),
    )
    padded = F.pad(x, (pad, pad, pad, pad))
    return padded[
        image, colour[None, :, None, None], rows[:, None, :, None], columns[:, None, None, :]
    ]


AUGMENTS: dict[str, Augment] = {"none": none, "affine": affine, "crop-flip": crop_flip}
