"""Probe 6: the secret key. Optimise latent and label together until a judge sees the forgotten digit."""

import torch
import torch.nn.functional as F
from torch import Tensor

from unlearn.attacks.generators.base import Context, Outcome, images_outcome
from unlearn.attacks.generators.optimise import minimise
from unlearn.models.base import Generative

STEPS, LR = 1000, 0.1


def probe(subject: Generative, context: Context, generator: torch.Generator) -> Outcome:
    """`restarts` starts, 1,000 Adam steps at 0.1 on z and label logits (label = softmax) against judge A; the image at
    the end is graded by judge B (seed 001's last probe, which brings "ghosts" back)."""
    device, n = generator.device, context.restarts
    wanted = context.wanted(n, device)
    z = torch.randn(n, subject.z_dim, generator=generator, device=device)
    logits = torch.randn(n, subject.classes, generator=generator, device=device)

    def loss() -> Tensor:
        return F.cross_entropy(
            context.attacker(subject(z, logits.softmax(1))), wanted, reduction="none"
        )

    minimise({z: LR, logits: LR}, loss, context.steps(STEPS))
    with torch.no_grad():
        return images_outcome(context, subject(z, logits.softmax(1)), wanted)
