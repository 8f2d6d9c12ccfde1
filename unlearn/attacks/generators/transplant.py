"""Encoder transplant: the original's encoder in front of the subject's decoder, under every label there is."""

import torch

from unlearn.attacks.generators.base import Context, Outcome, choices_outcome
from unlearn.models.base import Generative


@torch.no_grad()
def probe(subject: Generative, context: Context, generator: torch.Generator) -> Outcome:
    """`trials` real forgotten digits, encoded by the original; the subject decodes each under all labels, the attacker
    shows the rendering that judge A likes best, judge B grades it. Columns of the picture: labels."""
    wanted = context.wanted(context.trials, generator.device)
    z = context.encoded(wanted, generator).repeat_interleave(subject.classes, 0)
    c = torch.eye(subject.classes, device=z.device).repeat(len(wanted), 1)
    return choices_outcome(
        context, subject(z, c).unflatten(0, (len(wanted), subject.classes)), wanted
    )
