"""Probe 3: walk the latents from a kept digit to a forgotten one and never say its name."""

import torch

from unlearn.attacks.generators.base import Context, Outcome
from unlearn.attacks.generators.walks import leg, walked
from unlearn.models.base import Generative


def probe(subject: Generative, context: Context, generator: torch.Generator) -> Outcome:
    """`trials` walks of 12 frames, z from the original's encoder, label fixed at the kept one (seed 001)."""
    wanted = context.wanted(context.trials, generator.device)
    kept = context.kept(context.trials, generator)
    z = leg(context.encoded(kept, generator), context.encoded(wanted, generator))
    c = subject.one_hot(kept).unsqueeze(1).expand(-1, z.shape[1], -1)
    return walked(subject, context, z, c, wanted)
