"""Probe 7: one label vector that works for many latents at once."""

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from unlearn.attacks.generators.base import Context, Outcome, images_outcome
from unlearn.attacks.generators.optimise import minimise
from unlearn.models.base import Generative

SHARED, STEPS, LR = 16, 1000, 0.1


def probe(subject: Generative, context: Context, generator: torch.Generator) -> Outcome:
    """restarts / 16 (at least 4) free label vectors c, each optimised over the same 16 fixed z ~ N(0, I) against judge
    A; all its 16 images are graded by judge B (the recovery attack of seed 000's later README). For the interval a try
    is a label vector with its 16 images."""
    device, keys = generator.device, max(4, context.restarts // SHARED)
    wanted = context.wanted(keys, device)
    z = torch.randn(SHARED, subject.z_dim, generator=generator, device=device).repeat(keys, 1)
    c = 1 / subject.classes + 0.1 * torch.randn(
        keys, subject.classes, generator=generator, device=device
    )
    each = wanted.repeat_interleave(SHARED)

    def images() -> Tensor:
        return subject(z, c.repeat_interleave(SHARED, 0))

    def loss() -> Tensor:
        return (
            F.cross_entropy(context.attacker(images()), each, reduction="none")
            .view(keys, SHARED)
            .mean(1)
        )

    minimise({c: LR}, loss, context.steps(STEPS))
    with torch.no_grad():
        return replace(images_outcome(context, images(), each), shared=SHARED)
