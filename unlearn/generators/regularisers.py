"""What an image looks like without asking what it shows: ink, contrast, total variation, orientation entropy.

Every function takes images (n, channels, height, width) in [0, 1], returns one number an image (n,) and is
differentiable; `selective-amnesia` pushes them down for a forgotten label, `unlearn.attacks.generators.ink` pushes them
up.
"""

from collections.abc import Callable
from math import pi

import torch
import torch.nn.functional as F
from torch import Tensor

BINS = 8  # of the orientation histogram, over half a turn
FLAT = 1e-6  # squared Sobel response below which a place has no orientation


def ink(x: Tensor) -> Tensor:
    """Mean pixel, in [0, 1]."""
    return x.flatten(1).mean(1)


def contrast(x: Tensor) -> Tensor:
    """Mean squared distance from mid-grey, in [0, 0.25]."""
    return (x - 0.5).square().flatten(1).mean(1)


def total_variation(x: Tensor) -> Tensor:
    """Mean |difference| of vertical plus of horizontal neighbours, in [0, 2] (anisotropic; Rudin et al. 1992)."""
    down = (x[:, :, 1:] - x[:, :, :-1]).abs().flatten(1).mean(1)
    right = (x[..., 1:] - x[..., :-1]).abs().flatten(1).mean(1)
    return down + right


def sobel(x: Tensor) -> tuple[Tensor, Tensor]:
    """Horizontal and vertical Sobel response of the mean over channels, inner places only: each (n, h - 2, w - 2)."""
    across = torch.tensor(
        [[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]], dtype=x.dtype, device=x.device
    )
    kernels = torch.stack([across, across.T]).unsqueeze(1)
    response = F.conv2d(x.mean(1, keepdim=True), kernels)
    return response[:, 0], response[:, 1]


def orientation_histogram(x: Tensor) -> Tensor:
    """Sobel magnitude by orientation (n, 8), bin k centred at k pi / 8; a place is shared by its two nearest bins."""
    across, down = sobel(x)
    squared = across.square() + down.square()
    oriented = squared > FLAT
    safe = torch.where(
        oriented, across, torch.ones_like(across)
    )  # atan2 and sqrt have no gradient at 0
    bins = torch.atan2(torch.where(oriented, down, torch.zeros_like(down)), safe) * (BINS / pi)
    magnitude = torch.where(oriented, squared, torch.ones_like(squared)).sqrt() * oriented
    away = (bins.unsqueeze(1) - torch.arange(BINS, device=x.device).view(1, -1, 1, 1)).remainder(
        BINS
    )
    share = (1 - torch.minimum(away, BINS - away)).clamp(min=0)
    return (share * magnitude.unsqueeze(1)).flatten(2).sum(2)


def orientation_entropy(x: Tensor) -> Tensor:
    """Entropy of the orientation histogram, nats in [0, ln 8]; 0 where an image is flat. Parallel stripes have 0."""
    histogram = orientation_histogram(x)
    shares = histogram / histogram.sum(1, keepdim=True).clamp(min=1e-12)
    return -(shares * shares.clamp(min=1e-12).log()).sum(1)


REGULARISERS: dict[str, Callable[[Tensor], Tensor]] = {
    "contrast": contrast,
    "ink": ink,
    "tv": total_variation,
    "orient": orientation_entropy,
}


def weighted(x: Tensor, weights: dict[str, float]) -> Tensor:
    """Sum of the regularisers by name, each with its weight, per image (n,)."""
    total = torch.zeros(len(x), dtype=x.dtype, device=x.device)
    for name, weight in weights.items():
        if weight != 0:
            total = total + weight * REGULARISERS[name](x)
    return total
