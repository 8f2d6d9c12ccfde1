"""Image statistics that need no classifier: ink, contrast, total variation, orientation entropy.

Every function takes images (n, channels, height, width) in [0, 1], returns one number per image
(n,) and is differentiable. `selective-amnesia` pushes them down for a forgotten label,
`unlearn.attacks.generators.ink` pushes them up.
"""

from collections.abc import Callable
from math import pi

import torch
import torch.nn.functional as F
from torch import Tensor

BINS = 8  # of the orientation histogram, over half a turn
FLAT = 1e-6  # squared Sobel response at or below which a pixel has no orientation


def ink(x: Tensor) -> Tensor:
    """Return the mean pixel, in [0, 1]."""
    return x.flatten(1).mean(1)


def contrast(x: Tensor) -> Tensor:
    """Return the mean squared distance from mid-grey, in [0, 0.25]."""
    return (x - 0.5).square().flatten(1).mean(1)


def total_variation(x: Tensor) -> Tensor:
    """Return the mean |difference| of vertical plus that of horizontal neighbours, in [0, 2].

    Anisotropic; Rudin et al. 1992.
    """
    vertical = x[:, :, 1:] - x[:, :, :-1]
    horizontal = x[..., 1:] - x[..., :-1]
    return vertical.abs().flatten(1).mean(1) + horizontal.abs().flatten(1).mean(1)


def sobel(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the horizontal and the vertical Sobel response of the mean over channels.

    Inner pixels only: each (n, height - 2, width - 2).
    """
    # [-1, 0, 1] and [1, 2, 1], made where they are used: a CUDA graph copies nothing from the host
    slope = torch.arange(-1, 2, dtype=x.dtype, device=x.device)
    across = (2 - slope.abs()).outer(slope)
    kernels = torch.stack([across, across.T]).unsqueeze(1)
    response = F.conv2d(x.mean(1, keepdim=True), kernels)
    return response[:, 0], response[:, 1]


def orientation_histogram(x: Tensor) -> Tensor:
    """Return the Sobel magnitude by orientation (n, 8); bin k is centred at k pi / 8.

    The magnitude of a pixel is shared between its two nearest bins.
    """
    across, down = sobel(x)
    squared = across.square() + down.square()
    oriented = squared > FLAT
    # atan2 and sqrt have no gradient at 0: flat pixels get harmless values there.
    safe_across = torch.where(oriented, across, torch.ones_like(across))
    safe_down = torch.where(oriented, down, torch.zeros_like(down))
    safe_squared = torch.where(oriented, squared, torch.ones_like(squared))
    position = torch.atan2(safe_down, safe_across) * (BINS / pi)  # in bins
    magnitude = safe_squared.sqrt() * oriented
    centres = torch.arange(BINS, device=x.device).view(1, -1, 1, 1)
    distance = (position.unsqueeze(1) - centres).remainder(BINS)  # orientations are cyclic
    nearest = torch.minimum(distance, BINS - distance)
    share = (1 - nearest).clamp(min=0)
    return (share * magnitude.unsqueeze(1)).flatten(2).sum(2)


def orientation_entropy(x: Tensor) -> Tensor:
    """Return the entropy of the orientation histogram, in nats, in [0, ln 8].

    0 for a flat image and for parallel stripes.
    """
    histogram = orientation_histogram(x)
    total = histogram.sum(1, keepdim=True)
    shares = histogram / total.clamp(min=1e-12)
    return -(shares * shares.clamp(min=1e-12).log()).sum(1)


REGULARISERS: dict[str, Callable[[Tensor], Tensor]] = {
    "contrast": contrast,
    "ink": ink,
    "tv": total_variation,
    "orient": orientation_entropy,
}


def weighted(x: Tensor, weights: dict[str, float]) -> Tensor:
    """Return the weighted sum of the regularisers named in `weights`, per image (n,)."""
    total = torch.zeros(len(x), dtype=x.dtype, device=x.device)
    for name, weight in weights.items():
        if weight != 0:
            total = total + weight * REGULARISERS[name](x)
    return total
