"""Probe 2: the forgotten digits' own latents, under a label that is soft and noisy."""

import torch

from unlearn.attacks.generators.base import Context, Outcome, images_outcome
from unlearn.models.base import Generative

SHARP, LABEL_NOISE, Z_NOISE = 0.7, 0.1, 0.1


@torch.no_grad()
def probe(subject: Generative, context: Context, generator: torch.Generator) -> Outcome:
    """`trials` real test digits -> the original's encoder -> z + 0.1 noise -> the subject's decoder (seed 001).

    The label is 0.7 one-hot + 0.3 uniform + 0.1 noise, cut at 0 and scaled to sum 1; the reference gives no numbers.
    """
    device = generator.device
    wanted = context.wanted(context.trials, device)
    z = context.encoded(wanted, generator)
    z = z + Z_NOISE * torch.randn(z.shape, generator=generator, device=device)
    soft = SHARP * subject.one_hot(wanted) + (1 - SHARP) / subject.classes
    soft = (soft + LABEL_NOISE * torch.randn(soft.shape, generator=generator, device=device)).clamp(
        min=0
    )
    return images_outcome(context, subject(z, soft / soft.sum(1, keepdim=True)), wanted)
