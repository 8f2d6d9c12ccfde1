"""Probe 5: from a kept digit through a forgotten one to a second kept digit."""

import torch

from unlearn.attacks.generators.base import Context, Outcome
from unlearn.attacks.generators.walks import leg, walked
from unlearn.models.base import Generative


def probe(subject: Generative, context: Context, generator: torch.Generator) -> Outcome:
    """`trials` walks of two legs, 12 frames each, latents and labels both straight (seed 001)."""
    wanted = context.wanted(context.trials, generator.device)
    ends = [context.kept(context.trials, generator) for _ in range(2)]
    z, *z_ends = (context.encoded(labels, generator) for labels in (wanted, *ends))
    c, *c_ends = (subject.one_hot(labels) for labels in (wanted, *ends))
    path = torch.cat([leg(z_ends[0], z), leg(z, z_ends[1])], 1)
    labels = torch.cat([leg(c_ends[0], c), leg(c, c_ends[1])], 1)
    return walked(subject, context, path, labels, wanted)
