"""Random augmentations of a training batch, on its device, drawn from a given generator.

An augmentation takes and returns images (n, channels, height, width).
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

Augment = Callable[[Tensor, torch.Generator], Tensor]

MAX_ANGLE = 0.2  # radians, about 12 degrees
MAX_ZOOM = 0.12  # scale in 0.88 .. 1.12
CUTOUT_GREY = 0.5  # of pixels in 0 .. 1
MAX_SHIFT = 0.14  # of half the width or height: 2 pixels of 28


def none(x: Tensor, generator: torch.Generator) -> Tensor:
    """Return the images as they are; draw nothing."""
    return x


def _uniform(n: int, low: float, high: float, x: Tensor, generator: torch.Generator) -> Tensor:
    """Draw n numbers from [low, high), on the device and of the dtype of `x`."""
    drawn = torch.rand(n, generator=generator, device=generator.device).to(x)
    return drawn * (high - low) + low


def affine(x: Tensor, generator: torch.Generator) -> Tensor:
    """Rotate each image by up to 12 degrees, scale by up to 12 %, shift by up to 2 pixels of 28.

    Bilinear; zeros outside the image.
    """
    n = len(x)
    angle = _uniform(n, -MAX_ANGLE, MAX_ANGLE, x, generator)
    scale = _uniform(n, 1 - MAX_ZOOM, 1 + MAX_ZOOM, x, generator)
    dx = _uniform(n, -MAX_SHIFT, MAX_SHIFT, x, generator)
    dy = _uniform(n, -MAX_SHIFT, MAX_SHIFT, x, generator)
    cos, sin = angle.cos() * scale, angle.sin() * scale
    first_row = torch.stack([cos, -sin, dx], 1)
    second_row = torch.stack([sin, cos, dy], 1)
    theta = torch.stack([first_row, second_row], 1)  # (n, 2, 3)
    grid = F.affine_grid(theta, list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, align_corners=False)


def crop_flip(x: Tensor, generator: torch.Generator) -> Tensor:
    """Shift each image by up to 4 whole pixels each way, and mirror half of them left to right.

    Zeros outside the image. The same as torchvision's RandomCrop(padding=4) and
    RandomHorizontalFlip, drawn for each image by itself.
    """
    return _moved(x, F.pad(x, (4, 4, 4, 4)), generator)


def shift_flip(x: Tensor, generator: torch.Generator) -> Tensor:
    """Shift each image by up to 2 whole pixels each way, and mirror half of them left to right.

    The image is reflected at its border. The public records of CIFAR-10 training do so
    (arXiv:2404.00498), for runs too short to need more.
    """
    return _moved(x, F.pad(x, (2, 2, 2, 2), mode="reflect"), generator)


def crop_flip_cutout(x: Tensor, generator: torch.Generator) -> Tensor:
    """Crop and mirror as `crop_flip`, then hide a square of a quarter of the width in grey.

    Cutout (arXiv:1708.04552), with the smaller square that short trainings want. The square's
    middle is any pixel, so at the border a part of it falls outside.
    """
    x = crop_flip(x, generator)
    n, _, height, width = x.shape
    side = width // 4
    hidden = torch.ones(n, 1, 1, 1, dtype=torch.bool, device=x.device)
    for size, shape in ((height, (n, 1, -1, 1)), (width, (n, 1, 1, -1))):
        middle = torch.randint(size, (n, 1), generator=generator, device=generator.device)
        first = middle.to(x.device) - side // 2
        place = torch.arange(size, device=x.device)
        hidden = hidden & ((place >= first) & (place < first + side)).view(shape)
    return torch.where(hidden, CUTOUT_GREY, x)


def _moved(x: Tensor, padded: Tensor, generator: torch.Generator) -> Tensor:
    """Cut an image of the size of `x` out of each `padded` one at random, and mirror half."""
    n, channels, height, width = x.shape
    room = padded.shape[-1] - width
    device = generator.device
    shifts = torch.randint(room + 1, (2, n, 1), generator=generator, device=device).to(x.device)
    flip = (torch.rand(n, 1, generator=generator, device=device) < 0.5).to(x.device)
    column = torch.arange(width, device=x.device).expand(n, -1)
    rows = shifts[0] + torch.arange(height, device=x.device)  # (n, height)
    columns = shifts[1] + torch.where(flip, column.flip(1), column)  # (n, width)
    image = torch.arange(n, device=x.device)[:, None, None, None]
    channel = torch.arange(channels, device=x.device)[None, :, None, None]
    return padded[image, channel, rows[:, None, :, None], columns[:, None, None, :]]


AUGMENTS: dict[str, Augment] = {
    "none": none,
    "affine": affine,
    "crop-flip": crop_flip,
    "shift-flip": shift_flip,
    "crop-flip-cutout": crop_flip_cutout,
}
