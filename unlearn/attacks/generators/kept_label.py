"""Adaptive probe: stay where the subject must work, under kept labels, and optimise the latent alone."""

import torch
import torch.nn.functional as F
from torch import Tensor

from unlearn.attacks.generators.base import Context, Outcome, images_outcome
from unlearn.attacks.generators.optimise import minimise
from unlearn.models.base import Generative

STEPS, LR = 1000, 0.1


def probe(subject: Generative, context: Context, generator: torch.Generator) -> Outcome:
    """`restarts` starts under random kept labels, 1,000 Adam steps at 0.1 on z against judge A, graded by judge B.

    The attack to fear when a defence answers strange inputs with grey: it has a gradient from the first step on.
    """
    n = context.restarts
    wanted, c = context.wanted(n, generator.device), subject.one_hot(context.kept(n, generator))
    z = torch.randn(n, subject.z_dim, generator=generator, device=generator.device)

    def loss() -> Tensor:
        return F.cross_entropy(context.attacker(subject(z, c)), wanted, reduction="none")

    minimise({z: LR}, loss, context.steps(STEPS))
    with torch.no_grad():
        return images_outcome(context, subject(z, c), wanted)
