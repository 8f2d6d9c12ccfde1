"""Attack 7: optimise one label vector that works for many latents at once."""

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from unlearn.attacks.base import check_at_least, check_positive
from unlearn.attacks.generators.base import Context, GeneratorAttack, Recovery, grade_images
from unlearn.attacks.generators.optimise import minimise
from unlearn.models.base import Generative

FEWEST = 4  # label vectors, whatever `restarts` says


@dataclass(frozen=True)
class LabelOnly(GeneratorAttack):
    """Move free label vectors down the loss of judge `val`, over the same fixed z ~ N(0, I).

    Judge `lead` grades all images of every label vector. This is the recovery attack of seed 000's
    later README. In the interval, a try is a label vector with all its images.

    restarts: images in all; there are restarts / shared label vectors, at least 4. At least 1
    shared: latents that every label vector must work for, at least 1
    steps: Adam steps at effort 1, at least 1
    lr: Adam's learning rate for the label vectors, above 0
    """

    restarts: int = 48
    shared: int = 16
    steps: int = 1000
    lr: float = 0.1

    def __post_init__(self) -> None:
        check_at_least(1, self, "restarts", "shared", "steps")
        check_positive(self, "lr")

    def recover(
        self, subject: Generative, context: Context, generator: torch.Generator
    ) -> Recovery:
        device, shared = generator.device, self.shared
        n = max(FEWEST, self.restarts // shared)
        labels = context.wanted(n, device)
        wanted = labels.repeat_interleave(shared)
        z = torch.randn(shared, subject.z_dim, generator=generator, device=device).repeat(n, 1)
        noise = torch.randn(n, subject.classes, generator=generator, device=device)
        c = 1 / subject.classes + 0.1 * noise

        def images() -> Tensor:
            drawn: Tensor = subject(z, c.repeat_interleave(shared, 0))
            return drawn

        def loss() -> Tensor:
            each = F.cross_entropy(context.attacker(images()), wanted, reduction="none")
            return each.view(n, shared).mean(1)

        minimise({c: self.lr}, loss, context.steps(self.steps), [subject, context.attacker])
        with torch.no_grad():
            graded = grade_images(context, images(), wanted)
        return replace(graded, shared=shared)
