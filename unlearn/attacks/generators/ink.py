"""Probe B of seed 002: blind. It asks for the ink and the strokes of a digit, near the forgotten label."""

import torch
from torch import Tensor

from unlearn.attacks.generators.base import Context, Outcome, images_outcome
from unlearn.attacks.generators.optimise import minimise
from unlearn.generators.regularisers import contrast, ink, orientation_entropy, total_variation
from unlearn.models.base import Generative

STEPS, LR_Z, LR_LABEL, INK_TARGET = 2500, 0.06, 0.1, 0.22
W_TV, W_INK, W_Z, W_LABEL, W_CONTRAST, W_ORIENT = 0.04, 4.0, 1e-3, 2e-3, 1.5, 1.0
NEAR = 4.0  # how far the starting logits point at the forgotten label


def probe(subject: Generative, context: Context, generator: torch.Generator) -> Outcome:
    """`restarts` starts (12 in the reference), 2,500 Adam steps on z and label logits: 0.04 total variation
    + 4 (ink - 0.22)^2 + 0.001 mean z^2 + 0.002 |y - onehot|^2 - 1.5 contrast - 1.0 orientation entropy. Nobody tells it
    what the digit looks like; judge B grades."""
    device, n = generator.device, context.restarts
    wanted = context.wanted(n, device)
    named = subject.one_hot(wanted)
    z = torch.randn(n, subject.z_dim, generator=generator, device=device)
    logits = NEAR * named + torch.randn(named.shape, generator=generator, device=device)

    def loss() -> Tensor:
        y = logits.softmax(1)
        x = subject(z, y)
        stroke = (
            W_TV * total_variation(x) - W_CONTRAST * contrast(x) - W_ORIENT * orientation_entropy(x)
        )
        held = W_Z * z.square().mean(1) + W_LABEL * (y - named).square().sum(1)
        return stroke + W_INK * (ink(x) - INK_TARGET).square() + held

    minimise({z: LR_Z, logits: LR_LABEL}, loss, context.steps(STEPS))
    with torch.no_grad():
        return images_outcome(context, subject(z, logits.softmax(1)), wanted)
