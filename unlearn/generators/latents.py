"""Pictures of a generator's latent space: encodings, morphs, planes, slerp grids."""

import torch
import torch.nn.functional as F
from torch import Tensor

from unlearn.models.base import Generative
from unlearn.splits import Images

ALIGNED = 1e-4  # sine of the angle below which two latents are interpolated linearly


@torch.no_grad()
def encodings(model: Generative, images: Images, per_class: int) -> tuple[Tensor, Tensor]:
    """Encode the first `per_class` images of every class.

    Returns the means of q(z | x, c), (n, z_dim), and the labels (n,), in ascending order of label.
    """
    chosen = []
    for label in images.y.unique().tolist():
        index = (images.y == label).nonzero().squeeze(1)
        chosen.append(index[:per_class])
    subset = images.take(torch.cat(chosen))
    mean, _ = model.encode(subset.pixels(), model.one_hot(subset.y))
    return mean, subset.y


def slerp(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """Interpolate spherically from a to b (..., z_dim), at t (..., 1) in [0, 1].

    Linear where a and b are nearly aligned.
    """
    cosine = F.cosine_similarity(a, b, dim=-1).clamp(-1, 1).unsqueeze(-1)
    angle = torch.arccos(cosine)
    sine = angle.sin()
    from_a = ((1 - t) * angle).sin() / sine * a
    from_b = (t * angle).sin() / sine * b
    linear = a + t * (b - a)
    return torch.where(sine < ALIGNED, linear, from_a + from_b)


@torch.no_grad()
def morph(
    model: Generative, start: int, end: int, rows: int, steps: int, generator: torch.Generator
) -> Tensor:
    """Draw images (rows, steps, *shape) on the way from label `start` to label `end` (seed 000).

    Labels are interpolated linearly, z spherically between two draws of N(0, I) per row.
    """
    device = generator.device
    a, b = torch.randn(2, rows, 1, model.z_dim, generator=generator, device=device)
    t = torch.linspace(0, 1, steps, device=device)[None, :, None]
    first, last = model.one_hot(torch.tensor([start, end], device=device))
    c = torch.lerp(first.expand(rows, steps, -1), last.expand(rows, steps, -1), t)
    images = model(slerp(a, b, t).flatten(0, 1), c.flatten(0, 1))
    output: Tensor = images.unflatten(0, (rows, steps))
    return output


@torch.no_grad()
def plane(
    model: Generative, latents: Tensor, label: int, side: int = 20, reach: float = 3.0
) -> Tensor:
    """Draw images (side, side, *shape) of `label` over a plane of the latent space.

    The plane is spanned by the first two principal components of `latents` (n, z_dim), up to
    `reach` standard deviations each way. With two latent dimensions it is the whole manifold.
    """
    centre = latents.mean(0)
    _, singular, axes = torch.linalg.svd(latents - centre, full_matrices=False)
    deviation = singular[:2] / (len(latents) - 1) ** 0.5
    ticks = torch.linspace(-reach, reach, side, device=latents.device)
    v, u = torch.meshgrid(ticks, ticks, indexing="ij")
    horizontal = u[..., None] * deviation[0] * axes[0]
    vertical = v[..., None] * deviation[1] * axes[1]
    return _decoded(model, centre + horizontal + vertical, label)


@torch.no_grad()
def slerp_grid(model: Generative, label: int, side: int, generator: torch.Generator) -> Tensor:
    """Draw images (side, side, *shape) of `label` between four corners out of N(0, I).

    Latents are interpolated spherically, first down the two sides, then across.
    """
    device = generator.device
    corners = torch.randn(4, model.z_dim, generator=generator, device=device)
    t = torch.linspace(0, 1, side, device=device)[:, None]
    top_left, bottom_left, top_right, bottom_right = corners[:, None].expand(-1, side, -1)
    left = slerp(top_left, bottom_left, t)[:, None].expand(-1, side, -1)
    right = slerp(top_right, bottom_right, t)[:, None].expand(-1, side, -1)
    z = slerp(left, right, t[None].expand(side, -1, -1))
    return _decoded(model, z, label)


def _decoded(model: Generative, z: Tensor, label: int) -> Tensor:
    """Return the images (side, side, *shape) of a grid of latents (side, side, z_dim)."""
    flat = z.flatten(0, 1)
    labels = torch.full((len(flat),), label, device=flat.device)
    images = model(flat, model.one_hot(labels))
    output: Tensor = images.unflatten(0, z.shape[:2])
    return output


def displacement(before: Tensor, after: Tensor, labels: Tensor) -> Tensor:
    """Return how far the centroid of each class moved, (classes present,), in latent units.

    Row i of `before` and of `after` (n, z_dim) encode the same image, of label `labels[i]`.
    """
    moved = []
    for label in labels.unique():
        own = labels == label
        moved.append((after[own].mean(0) - before[own].mean(0)).norm())
    return torch.stack(moved)
