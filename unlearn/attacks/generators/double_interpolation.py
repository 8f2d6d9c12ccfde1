"""Probe 4: walk latents and label together, from a kept digit to a forgotten one."""

import torch

from unlearn.attacks.generators.base import Context, Outcome
from unlearn.attacks.generators.walks import leg, walked
from unlearn.models.base import Generative


def probe(subject: Generative, context: Context, generator: torch.Generator) -> Outcome:
    """`trials` walks of 12 frames, z from the original's encoder, both straight (seed 001)."""
    wanted = context.wanted(context.trials, generator.device)
    kept = context.kept(context.trials, generator)
    z = leg(context.encoded(kept, generator), context.encoded(wanted, generator))
    c = leg(subject.one_hot(kept), subject.one_hot(wanted))
    return walked(subject, context, z, c, wanted)
