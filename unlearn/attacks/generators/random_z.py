"""Probe 1: just ask. Random latents under the forgotten label."""

import torch

from unlearn.attacks.generators.base import Context, Outcome, images_outcome
from unlearn.models.base import Generative


@torch.no_grad()
def probe(subject: Generative, context: Context, generator: torch.Generator) -> Outcome:
    """`trials` images, z ~ N(0, I), label one-hot (seed 001's first probe; the paper's own test)."""
    wanted = context.wanted(context.trials, generator.device)
    z = torch.randn(context.trials, subject.z_dim, generator=generator, device=generator.device)
    return images_outcome(context, subject(z, subject.one_hot(wanted)), wanted)
