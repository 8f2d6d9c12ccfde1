"""Looking into a generator's latent space: encodings, morphs, planes, slerp grids. Tensors in, tensors out."""

import torch
from torch import Tensor

from unlearn.models.base import Generative
from unlearn.splits import Images


@torch.no_grad()
def encodings(model: Generative, images: Images, per_class: int) -> tuple[Tensor, Tensor]:
    """Means of q(z | x, c) of the first `per_class` images of every class: (n, z_dim), and their labels (n,)."""
    parts = [
        (images.y == label).nonzero().squeeze(1)[:per_class] for label in images.y.unique().tolist()
    ]
    chosen = images.take(torch.cat(parts))
    return model.encode(chosen.pixels(), model.one_hot(chosen.y))[0], chosen.y


def slerp(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """Spherical interpolation of a to b (..., z_dim) at t (..., 1) in [0, 1]; straight where they nearly align."""
    cosine = torch.nn.functional.cosine_similarity(a, b, dim=-1).clamp(-1, 1).unsqueeze(-1)
    angle = torch.arccos(cosine)
    sine = angle.sin()
    round_ = ((1 - t) * angle).sin() / sine * a + (t * angle).sin() / sine * b
    return torch.where(sine < 1e-4, a + t * (b - a), round_)


@torch.no_grad()
def morph(
    model: Generative, start: int, end: int, rows: int, steps: int, generator: torch.Generator
) -> Tensor:
    """Images (rows, steps, *shape) on the way from label `start` to `end`: label straight, z slerped between two
    draws of N(0, I) a row (seed 000)."""
    device = generator.device
    a, b = torch.randn(2, rows, 1, model.z_dim, generator=generator, device=device)
    t = torch.linspace(0, 1, steps, device=device)[None, :, None]
    ends = model.one_hot(torch.tensor([start, end], device=device))
    c = torch.lerp(ends[0].expand(rows, steps, -1), ends[1].expand(rows, steps, -1), t)
    return model(slerp(a, b, t).flatten(0, 1), c.flatten(0, 1)).unflatten(0, (rows, steps))


@torch.no_grad()
def plane(
    model: Generative, latents: Tensor, label: int, side: int = 20, reach: float = 3.0
) -> Tensor:
    """Images (side, side, *shape) under `label` over the plane of the first two principal components of `latents`
    (n, z_dim), +- `reach` standard deviations; with two latent dimensions the whole decoded manifold."""
    centre = latents.mean(0)
    _, scale, axes = torch.linalg.svd(latents - centre, full_matrices=False)
    spread = scale[:2] / (len(latents) - 1) ** 0.5
    ticks = torch.linspace(-reach, reach, side, device=latents.device)
    v, u = torch.meshgrid(ticks, ticks, indexing="ij")
    z = centre + u[..., None] * spread[0] * axes[0] + v[..., None] * spread[1] * axes[1]
    return _decoded(model, z, label)


@torch.no_grad()
def slerp_grid(model: Generative, label: int, side: int, generator: torch.Generator) -> Tensor:
    """Images (side, side, *shape) under `label` between four corners drawn from N(0, I), slerped both ways."""
    corners = torch.randn(4, model.z_dim, generator=generator, device=generator.device)
    t = torch.linspace(0, 1, side, device=generator.device)[:, None]
    left, right = (
        slerp(a.expand(side, -1), b.expand(side, -1), t) for a, b in (corners[:2], corners[2:])
    )
    z = slerp(
        left[:, None].expand(-1, side, -1),
        right[:, None].expand(-1, side, -1),
        t[None].expand(side, -1, -1),
    )
    return _decoded(model, z, label)


def _decoded(model: Generative, z: Tensor, label: int) -> Tensor:
    """Images of a grid of latents (side, side, z_dim) under one label."""
    flat = z.flatten(0, 1)
    c = model.one_hot(torch.full((len(flat),), label, device=flat.device))
    return model(flat, c).unflatten(0, z.shape[:2])


def displacement(before: Tensor, after: Tensor, labels: Tensor) -> Tensor:
    """How far each class's centroid moved, (classes present,), in latent units; rows of both (n, z_dim) correspond."""
    moved = [
        (after[labels == label].mean(0) - before[labels == label].mean(0)).norm()
        for label in labels.unique()
    ]
    return torch.stack(moved)
