"""The diagonal Fisher information of a generator, from its own samples."""

from collections.abc import Callable

import torch
from torch import Tensor

from unlearn.errors import require
from unlearn.fisher.diagonal import diagonal_fisher
from unlearn.models import Weights
from unlearn.models.base import Generative
from unlearn.objectives import negative_elbo


def generator_fisher(
    model: Generative, samples: int, generator: torch.Generator, batch: int = 500
) -> Weights:
    """Selective Amnesia's Fisher (arXiv:2305.10120, section 4): z ~ N(0, I), c uniform over all labels, x = decoder
    mean; squared gradient of the one-sample negative ELBO, averaged over `samples`. Independent of what is forgotten.
    """
    device = next(model.parameters()).device

    def losses(n: int) -> Callable[[], Tensor]:
        z = torch.randn(n, model.z_dim, generator=generator, device=device)
        c = model.one_hot(torch.randint(model.classes, (n,), generator=generator, device=device))
        with torch.no_grad():
            x = model(z, c)
        return lambda: negative_elbo(model, x, c, generator)

    sizes = [min(batch, samples - start) for start in range(0, samples, batch)]
    return diagonal_fisher(model, (losses(n) for n in sizes))


def batch_mean_fisher(
    model: Generative, samples: int, generator: torch.Generator, batch: int = 500
) -> Weights:
    """For parity only: squares of gradients averaged over `batch` samples first, as seed 001 takes them. Too small, and
    by another factor in every layer; equal to `generator_fisher` at batch = 1."""
    total = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
    device, sizes = (
        next(model.parameters()).device,
        [min(batch, samples - start) for start in range(0, samples, batch)],
    )
    require(len(sizes) > 0, "Fisher of no samples; give at least one")
    for n in sizes:
        z = torch.randn(n, model.z_dim, generator=generator, device=device)
        c = model.one_hot(torch.randint(model.classes, (n,), generator=generator, device=device))
        x = model(z, c).detach()
        gradients = torch.autograd.grad(
            negative_elbo(model, x, c, generator).mean(), list(model.parameters())
        )
        for square, gradient in zip(total.values(), gradients, strict=True):
            square += gradient.square() / len(sizes)
    return total
