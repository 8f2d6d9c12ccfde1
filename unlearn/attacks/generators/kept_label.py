"""Adaptive attack: optimise the latent alone, under kept labels, which the subject must draw."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from unlearn.attacks.base import check_at_least, check_positive
from unlearn.attacks.generators.base import Context, GeneratorAttack, Recovery, grade_images
from unlearn.attacks.generators.optimise import minimise
from unlearn.models.base import Generative


@dataclass(frozen=True)
class KeptLabel(GeneratorAttack):
    """Move z under random kept labels down the loss of judge `val`; judge `lead` grades the end.

    This is the strongest attack against a defence that answers unusual labels with grey: under a
    kept label there is a gradient from the first step on.

    restarts: random starts, one try each, at least 1
    steps: Adam steps at effort 1, at least 1
    lr: Adam's learning rate for z, above 0
    """

    restarts: int = 48
    steps: int = 1000
    lr: float = 0.1

    def __post_init__(self) -> None:
        check_at_least(1, self, "restarts", "steps")
        check_positive(self, "lr")

    def recover(
        self, subject: Generative, context: Context, generator: torch.Generator
    ) -> Recovery:
        device, n = generator.device, self.restarts
        wanted = context.wanted(n, device)
        c = subject.one_hot(context.kept(n, generator))
        z = torch.randn(n, subject.z_dim, generator=generator, device=device)

        def loss() -> Tensor:
            return F.cross_entropy(context.attacker(subject(z, c)), wanted, reduction="none")

        minimise({z: self.lr}, loss, context.steps(self.steps))
        with torch.no_grad():
            return grade_images(context, subject(z, c), wanted)
