"""Decoder inputs (z, c) that no honest user asks for: out-of-distribution labels and latents."""

from math import sqrt
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from unlearn.generators.targets import Target, draw_labels
from unlearn.models.base import Generative

# |z| > sqrt(z_dim) + 2.5 has probability below 0.001 under N(0, I) (at 8 dimensions: 0.0004).
RADIUS_MARGIN = 2.5


def prior_radius(z_dim: int) -> float:
    """Return the radius of the ball that holds 99.9 % of N(0, I) and more."""
    return sqrt(z_dim) + RADIUS_MARGIN


def ood_inputs(
    frozen: Generative, retain: Tensor, n: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Draw `n` out-of-distribution inputs z (n, z_dim), c (n, classes): a third of each kind.

    The kinds, in this order: mixed labels; labels off the simplex (both with z up to three times
    wider than the prior); labels out of `retain` with z far outside the prior. What is left over
    after division by three goes to the second kind.
    """
    mixed = far = n // 3
    off_simplex = n - mixed - far
    c_mixed = mixed_labels(frozen, mixed, generator)
    c_off = off_simplex_labels(frozen.classes, off_simplex, generator)
    z_wide = wide_latents(frozen.z_dim, mixed + off_simplex, generator)
    z_far = far_latents(frozen.z_dim, far, generator)
    c_far = draw_labels(frozen, retain, far, generator)
    return torch.cat([z_wide, z_far]), torch.cat([c_mixed, c_off, c_far])


class Sizes(NamedTuple):
    """How many inputs of each kind a decoder batch has."""

    retain: int
    forget: int
    ood: int


def decoder_draws(
    frozen: Generative,
    forget: Tensor,
    retain: Tensor,
    sizes: Sizes,
    target: Target,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor, Tensor]:
    """Draw decoder inputs z (n, z_dim), c (n, classes): retained labels, forgotten ones, and those
    that no honest user asks for; and target images for the last two kinds (m, *shape)."""
    n = sizes.retain + sizes.forget
    z = torch.randn(n, frozen.z_dim, generator=generator, device=generator.device)
    c_r = draw_labels(frozen, retain, sizes.retain, generator)
    c_f = draw_labels(frozen, forget, sizes.forget, generator)
    z_o, c_o = ood_inputs(frozen, retain, sizes.ood, generator)
    images = target(frozen, sizes.forget + sizes.ood, retain, generator)
    return torch.cat([z, z_o]), torch.cat([c_r, c_f, c_o]), images


def mixed_labels(frozen: Generative, n: int, generator: torch.Generator) -> Tensor:
    """Draw labels (n, classes) inside the simplex: a one-hot label of any class, with a weight
    uniform in [0, 0.9], and a uniform draw from the simplex with the rest."""
    classes = torch.arange(frozen.classes, device=generator.device)
    uniform = _uniform(n, frozen.classes, generator=generator)
    exponential = -uniform.clamp(min=1e-6).log()  # normalised: uniform on the simplex
    weight = 0.9 * _uniform(n, 1, generator=generator)
    one_hot = draw_labels(frozen, classes, n, generator)
    return weight * one_hot + (1 - weight) * exponential / exponential.sum(1, keepdim=True)


def off_simplex_labels(classes: int, n: int, generator: torch.Generator) -> Tensor:
    """Draw labels (n, classes) from N(0, s^2 I), with s uniform in [0.2, 2] for each."""
    normal = _normal(n, classes, generator=generator)
    return normal * (0.2 + 1.8 * _uniform(n, 1, generator=generator))


def wide_latents(z_dim: int, n: int, generator: torch.Generator) -> Tensor:
    """Draw latents (n, z_dim) from N(0, s^2 I), with s uniform in [0.5, 3] for each."""
    normal = _normal(n, z_dim, generator=generator)
    return normal * (0.5 + 2.5 * _uniform(n, 1, generator=generator))


def far_latents(z_dim: int, n: int, generator: torch.Generator) -> Tensor:
    """Draw latents (n, z_dim) of one to three times the radius sqrt(z_dim) + `RADIUS_MARGIN`."""
    radius = prior_radius(z_dim) * (1 + 2 * _uniform(n, 1, generator=generator))
    direction = F.normalize(_normal(n, z_dim, generator=generator), dim=1)
    return direction * radius


def _uniform(*size: int, generator: torch.Generator) -> Tensor:
    return torch.rand(*size, generator=generator, device=generator.device)


def _normal(*size: int, generator: torch.Generator) -> Tensor:
    return torch.randn(*size, generator=generator, device=generator.device)
