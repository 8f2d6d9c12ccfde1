"""Batches of Selective Amnesia: targets for forgotten labels, replayed images for retained ones."""

import torch
from torch import Tensor

from unlearn.generators.targets import TARGETS, Target, draw_labels
from unlearn.models.base import Generative

Pool = tuple[Tensor, Tensor]  # replayed images (n, *shape) and their labels (n, classes)
CHUNK = 1000  # images of a pool that are drawn at once


@torch.no_grad()
def replay_pool(frozen: Generative, retain: Tensor, size: int, generator: torch.Generator) -> Pool:
    """Draw `size` images of the frozen original under labels out of `retain`, z ~ N(0, I)."""
    c = draw_labels(frozen, retain, size, generator)
    z = torch.randn(size, frozen.z_dim, generator=generator, device=generator.device)
    chunks = zip(z.split(CHUNK), c.split(CHUNK), strict=True)
    return torch.cat([frozen(z_part, c_part) for z_part, c_part in chunks]), c


@torch.no_grad()
def amnesia_batch(
    frozen: Generative,
    forget: Tensor,
    retain: Tensor,
    batch: int,
    generator: torch.Generator,
    target: Target = TARGETS["noise"],
    pool: Pool | None = None,
) -> tuple[Tensor, Tensor]:
    """Draw images (2 batch, *shape) and labels (2 batch, classes).

    First `batch` target images under forgotten labels, then `batch` replayed images under retained
    ones: out of `pool`, or, without one, drawn anew from the frozen original.
    """
    device = generator.device
    c_f = draw_labels(frozen, forget, batch, generator)
    if pool is None:
        c_r = draw_labels(frozen, retain, batch, generator)
        x_f = target(frozen, batch, retain, generator)
        z = torch.randn(batch, frozen.z_dim, generator=generator, device=device)
        x_r = frozen(z, c_r)
    else:
        images, labels = pool
        index = torch.randint(len(images), (batch,), generator=generator, device=device)
        x_f = target(frozen, batch, retain, generator)
        x_r, c_r = images[index], labels[index]
    return torch.cat([x_f, x_r]), torch.cat([c_f, c_r])
