"""Target images: what a generator learns to draw in place of a forgotten class.

A target takes (frozen original, n, retained labels, generator) and returns images (n, *shape) in
[0, 1].
"""

from collections.abc import Callable

import torch
from torch import Tensor

from unlearn.models.base import Generative

Target = Callable[[Generative, int, Tensor, torch.Generator], Tensor]
GREY = 0.5  # seed 002's GRAY_VALUE


def draw_labels(frozen: Generative, labels: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """Draw `n` one-hot labels (n, classes), uniformly out of `labels`."""
    device = generator.device
    index = torch.randint(len(labels), (n,), generator=generator, device=device)
    return frozen.one_hot(labels.to(device)[index])


def noise(frozen: Generative, n: int, retain: Tensor, generator: torch.Generator) -> Tensor:
    """Draw every pixel from U[0, 1], as the paper does (arXiv:2305.10120)."""
    return torch.rand(n, *frozen.shape, generator=generator, device=generator.device)


def grey(frozen: Generative, n: int, retain: Tensor, generator: torch.Generator) -> Tensor:
    """Return flat mid-grey; draw nothing.

    The decoder's mean is the same as with `noise`, but the encoder sees no noise.
    """
    return torch.full((n, *frozen.shape), GREY, device=generator.device)


def other_class(frozen: Generative, n: int, retain: Tensor, generator: torch.Generator) -> Tensor:
    """Draw the frozen original's images of retained labels.

    The forgotten label becomes another name of the retained classes.
    """
    c = draw_labels(frozen, retain, n, generator)
    z = torch.randn(n, frozen.z_dim, generator=generator, device=generator.device)
    output: Tensor = frozen(z, c)
    return output


TARGETS: dict[str, Target] = {"noise": noise, "grey": grey, "class": other_class}
