"""Attack 6: optimise latent and label together until a judge sees the forgotten class."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from unlearn.attacks.base import check_at_least, check_positive
from unlearn.attacks.generators.base import Context, GeneratorAttack, Recovery, grade_images
from unlearn.attacks.generators.optimise import minimise
from unlearn.models.base import Generative


@dataclass(frozen=True)
class LatentLabel(GeneratorAttack):
    """Move z and label logits down the cross-entropy of judge `val`; judge `lead` grades the end.

    The label is the softmax of the logits. This is the last attack of seed 001, which brings the
    class back ("ghosts") where the label alone seems to have forgotten it.

    restarts: random starts, one try each, at least 1
    steps: Adam steps at effort 1, at least 1
    lr: Adam's learning rate for z and logits, above 0
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
        z = torch.randn(n, subject.z_dim, generator=generator, device=device)
        logits = torch.randn(n, subject.classes, generator=generator, device=device)

        def loss() -> Tensor:
            images = subject(z, logits.softmax(1))
            return F.cross_entropy(context.attacker(images), wanted, reduction="none")

        minimise(
            {z: self.lr, logits: self.lr},
            loss,
            context.steps(self.steps),
            [subject, context.attacker],
        )
        with torch.no_grad():
            return grade_images(context, subject(z, logits.softmax(1)), wanted)
