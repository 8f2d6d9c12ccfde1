"""Attack 2: the latents of real forgotten images, under a soft and noisy label."""

from dataclasses import dataclass

import torch

from unlearn.attacks.base import check_at_least, check_share
from unlearn.attacks.generators.base import Context, GeneratorAttack, Recovery, grade_images
from unlearn.models.base import Generative


@dataclass(frozen=True)
class NoisyLabel(GeneratorAttack):
    """Decode the noisy latents of real forgotten test images under a noisy label (seed 001).

    The original's encoder gives z. The label is sharpness * one-hot + (1 - sharpness) * uniform
    + noise, clamped at 0 and scaled to sum 1. The reference gives no numbers: the defaults are
    ours.

    trials: number of images, at least 1
    sharpness: weight of the one-hot label beside the uniform one, 0 to 1
    label_noise: standard deviation of the noise on the label, at least 0
    z_noise: standard deviation of the noise on z, at least 0
    """

    trials: int = 200
    sharpness: float = 0.7
    label_noise: float = 0.1
    z_noise: float = 0.1

    def __post_init__(self) -> None:
        check_at_least(1, self, "trials")
        check_share(self, "sharpness")
        check_at_least(0, self, "label_noise", "z_noise")

    @torch.no_grad()
    def recover(
        self, subject: Generative, context: Context, generator: torch.Generator
    ) -> Recovery:
        device = generator.device
        wanted = context.wanted(self.trials, device)
        z = context.encoded(wanted, generator)
        z = z + self.z_noise * torch.randn(z.shape, generator=generator, device=device)
        soft = self.sharpness * subject.one_hot(wanted) + (1 - self.sharpness) / subject.classes
        noise = torch.randn(soft.shape, generator=generator, device=device)
        soft = (soft + self.label_noise * noise).clamp(min=0)
        label = soft / soft.sum(1, keepdim=True)
        return grade_images(context, subject(z, label), wanted)
