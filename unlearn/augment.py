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


AUGMENTS: dict[str, Augment] = {"none": none, "affine": affine}
