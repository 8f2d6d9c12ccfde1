"""Straight walks between classes, in the latents and in the labels, graded frame by frame."""

from dataclasses import dataclass

import torch
from torch import Tensor

from unlearn.attacks.base import check_at_least
from unlearn.attacks.generators.base import Context, GeneratorAttack, Recovery, grade_favourites
from unlearn.models.base import Generative


@dataclass(frozen=True)
class WalkAttack(GeneratorAttack):
    """An attack that walks from class to class.

    trials: number of walks, at least 1
    frames: images per straight leg of a walk, at least 2
    """

    trials: int = 200
    frames: int = 12

    def __post_init__(self) -> None:
        check_at_least(1, self, "trials")
        check_at_least(2, self, "frames")


def leg(start: Tensor, end: Tensor, frames: int) -> Tensor:
    """Take `frames` equal steps from `start` to `end`, both included: (n, d) -> (n, frames, d)."""
    weights = torch.linspace(0, 1, frames, device=start.device)[:, None]
    return torch.lerp(start.unsqueeze(1), end.unsqueeze(1), weights)


@torch.no_grad()
def walk(subject: Generative, context: Context, z: Tensor, c: Tensor, wanted: Tensor) -> Recovery:
    """Decode walks z (n, frames, z_dim), c (n, frames, classes); each walk is one try.

    The attacker picks one frame of each walk by its own judge, and the grader reads that frame.
    """
    flat = subject(z.flatten(0, 1), c.flatten(0, 1))
    images = flat.unflatten(0, z.shape[:2])
    return grade_favourites(context, images, wanted)
