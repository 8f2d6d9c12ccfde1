"""Straight walks between digits, in the latents and in the labels, read frame by frame."""

import torch
from torch import Tensor

from unlearn.attacks.generators.base import Context, Outcome, choices_outcome
from unlearn.models.base import Generative

FRAMES = 12  # a leg


def leg(start: Tensor, end: Tensor, frames: int = FRAMES) -> Tensor:
    """`frames` equal steps from `start` to `end`, both included: (n, d), (n, d) -> (n, frames, d)."""
    return torch.lerp(
        start.unsqueeze(1),
        end.unsqueeze(1),
        torch.linspace(0, 1, frames, device=start.device)[:, None],
    )


@torch.no_grad()
def walked(subject: Generative, context: Context, z: Tensor, c: Tensor, wanted: Tensor) -> Outcome:
    """Decode the walks z (n, frames, z_dim), c (n, frames, classes); the attacker shows one frame of each."""
    images = subject(z.flatten(0, 1), c.flatten(0, 1)).unflatten(0, z.shape[:2])
    return choices_outcome(context, images, wanted)
