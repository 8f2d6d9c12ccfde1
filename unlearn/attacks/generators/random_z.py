"""Attack 1: random latents under the forgotten label."""

from dataclasses import dataclass

import torch

from unlearn.attacks.base import check_at_least
from unlearn.attacks.generators.base import Context, GeneratorAttack, Recovery, grade_images
from unlearn.models.base import Generative


@dataclass(frozen=True)
class RandomZ(GeneratorAttack):
    """Draw images from z ~ N(0, I) under the one-hot forgotten label.

    This is the first attack of seed 001 and the test of the paper itself.

    trials: number of images, at least 1
    """

    trials: int = 200

    def __post_init__(self) -> None:
        check_at_least(1, self, "trials")

    @torch.no_grad()
    def recover(
        self, subject: Generative, context: Context, generator: torch.Generator
    ) -> Recovery:
        device = generator.device
        wanted = context.wanted(self.trials, device)
        z = torch.randn(self.trials, subject.z_dim, generator=generator, device=device)
        images = subject(z, subject.one_hot(wanted))
        return grade_images(context, images, wanted)
