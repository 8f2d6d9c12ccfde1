"""Encoder transplant: the original's encoder before the subject's decoder, under all labels."""

from dataclasses import dataclass

import torch

from unlearn.attacks.base import check_at_least
from unlearn.attacks.generators.base import Context, GeneratorAttack, Recovery, grade_favourites
from unlearn.models.base import Generative


@dataclass(frozen=True)
class Transplant(GeneratorAttack):
    """Encode real forgotten test images by the original; decode each under every label.

    The attacker picks one image of each by its own judge, and judge `lead` grades it. Columns of
    the picture are labels.

    trials: number of encoded images, at least 1
    """

    trials: int = 200

    def __post_init__(self) -> None:
        check_at_least(1, self, "trials")

    @torch.no_grad()
    def recover(
        self, subject: Generative, context: Context, generator: torch.Generator
    ) -> Recovery:
        wanted = context.wanted(self.trials, generator.device)
        z = context.encoded(wanted, generator).repeat_interleave(subject.classes, 0)
        c = torch.eye(subject.classes, device=z.device).repeat(self.trials, 1)
        images = subject(z, c).unflatten(0, (self.trials, subject.classes))
        return grade_favourites(context, images, wanted)
