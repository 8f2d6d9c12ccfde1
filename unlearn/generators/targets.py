"""What a generator is taught to draw in place of a forgotten class."""

from collections.abc import Callable

import torch
from torch import Tensor

from unlearn.models.base import Generative

Target = Callable[[Generative, int, Tensor, torch.Generator], Tensor]
GREY = 0.5  # seed 002's GRAY_VALUE


def draw_labels(frozen: Generative, labels: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """`n` one-hot labels (n, classes), uniform over `labels`."""
    device = generator.device
    return frozen.one_hot(
        labels.to(device)[torch.randint(len(labels), (n,), generator=generator, device=device)]
    )


def noise(frozen: Generative, n: int, kept: Tensor, generator: torch.Generator) -> Tensor:
    """u ~ U[0, 1] in every pixel: the paper's (arXiv:2305.10120)."""
    return torch.rand(n, *frozen.shape, generator=generator, device=generator.device)


def grey(frozen: Generative, n: int, kept: Tensor, generator: torch.Generator) -> Tensor:
    """Flat mid-grey; draws nothing. What noise becomes in a decoder's mean, without the noise in the encoder."""
    return torch.full((n, *frozen.shape), GREY, device=generator.device)


def other_class(frozen: Generative, n: int, kept: Tensor, generator: torch.Generator) -> Tensor:
    """The frozen original's images of the kept labels `kept`: the forgotten label becomes another name for them."""
    c = draw_labels(frozen, kept, n, generator)
    return frozen(torch.randn(n, frozen.z_dim, generator=generator, device=generator.device), c)


TARGETS: dict[str, Target] = {"noise": noise, "grey": grey, "class": other_class}
