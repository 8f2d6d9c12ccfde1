"""Attack A of seed 002: search for the closest images to some that the attacker owns."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from unlearn.attacks.base import check_at_least, check_positive
from unlearn.attacks.generators.base import Context, GeneratorAttack, Recovery, grade_images
from unlearn.attacks.generators.optimise import minimise
from unlearn.errors import require
from unlearn.generators.regularisers import total_variation
from unlearn.models.base import Generative

LAPLACE = ((0.0, 1.0, 0.0), (1.0, -4.0, 1.0), (0.0, 1.0, 0.0))


@dataclass(frozen=True)
class Prototype(GeneratorAttack):
    """Move z and label logits towards images of the original; judge `lead` grades the end.

    The attacker owns the original's sharpest images of the class. The loss is the mean squared
    distance to the nearest of them + tv_weight * total variation + z_weight * mean z^2. No judge
    is climbed.

    restarts: random starts, one try each, at least 1 (6 in the reference)
    samples: images that the original draws per class, at least 1
    prototypes: the sharpest of these, which the attacker owns, 1 to `samples`
    steps: Adam steps at effort 1, at least 1
    lr_z: Adam's learning rate for z, above 0
    lr_label: Adam's learning rate for the label logits, above 0
    tv_weight: weight of the total variation, at least 0
    z_weight: weight of mean z^2, at least 0
    """

    restarts: int = 48
    samples: int = 512
    prototypes: int = 8
    steps: int = 800
    lr_z: float = 0.06
    lr_label: float = 0.1
    tv_weight: float = 0.02
    z_weight: float = 1e-3

    def __post_init__(self) -> None:
        check_at_least(1, self, "restarts", "samples", "prototypes", "steps")
        check_positive(self, "lr_z", "lr_label")
        check_at_least(0, self, "tv_weight", "z_weight")
        require(
            self.prototypes <= self.samples,
            f"prototypes must be at most samples ({self.samples}), not {self.prototypes}",
        )

    def recover(
        self, subject: Generative, context: Context, generator: torch.Generator
    ) -> Recovery:
        device, n = generator.device, self.restarts
        wanted = context.wanted(n, device)
        owned = [self.owned(context.original, label, generator) for label in context.forget]
        turns = torch.arange(n, device=device) % len(owned)  # as `wanted` takes the labels
        aims = torch.stack(owned)[turns].flatten(2)  # (n, prototypes, pixels)
        z = torch.randn(n, subject.z_dim, generator=generator, device=device)
        logits = torch.randn(n, subject.classes, generator=generator, device=device)

        def loss() -> Tensor:
            x: Tensor = subject(z, logits.softmax(1))
            distances = (x.flatten(1).unsqueeze(1) - aims).square().mean(2)
            smooth = self.tv_weight * total_variation(x)
            return distances.amin(1) + smooth + self.z_weight * z.square().mean(1)

        minimise({z: self.lr_z, logits: self.lr_label}, loss, context.steps(self.steps), [subject])
        with torch.no_grad():
            return grade_images(context, subject(z, logits.softmax(1)), wanted)

    @torch.no_grad()
    def owned(self, original: Generative, label: int, generator: torch.Generator) -> Tensor:
        """Draw `samples` images of `label`; keep the sharpest, (prototypes, *shape)."""
        device = generator.device
        z = torch.randn(self.samples, original.z_dim, generator=generator, device=device)
        labels = torch.full((self.samples,), label, device=device)
        images: Tensor = original(z, original.one_hot(labels))
        return images[sharpness(images).topk(self.prototypes).indices]


def sharpness(x: Tensor) -> Tensor:
    """Compute the mean squared Laplacian of the mean over channels, per image (n,)."""
    kernel = torch.tensor(LAPLACE, dtype=x.dtype, device=x.device).view(1, 1, 3, 3)
    edges = F.conv2d(x.mean(1, keepdim=True), kernel)
    return edges.square().flatten(1).mean(1)
