"""Attack B of seed 002: ask for the ink and the strokes of a digit, near the forgotten label."""

from dataclasses import dataclass

import torch
from torch import Tensor

from unlearn.attacks.base import check_at_least, check_positive, check_share
from unlearn.attacks.generators.base import Context, GeneratorAttack, Recovery, grade_images
from unlearn.attacks.generators.optimise import minimise
from unlearn.generators.regularisers import contrast, ink, orientation_entropy, total_variation
from unlearn.models.base import Generative


@dataclass(frozen=True)
class Ink(GeneratorAttack):
    """Move z and label logits towards images that look like a digit; judge `lead` grades the end.

    The loss per image is tv_weight * total variation + ink_weight * (ink - ink_target)^2
    + z_weight * mean z^2 + label_weight * |label - one-hot|^2 - contrast_weight * contrast
    - orientation_weight * orientation entropy. The attacker does not know what the class looks
    like, and no judge is climbed.

    restarts: random starts, one try each, at least 1 (12 in the reference)
    steps: Adam steps at effort 1, at least 1
    lr_z: Adam's learning rate for z, above 0
    lr_label: Adam's learning rate for the label logits, above 0
    label_start: offset of the forgotten label's starting logit, at least 0
    ink_target: mean pixel value that is asked for, 0 to 1
    tv_weight: weight of the total variation, at least 0
    ink_weight: weight of the squared distance to `ink_target`, at least 0
    z_weight: weight of mean z^2, at least 0
    label_weight: weight of the label's squared distance to the one-hot label, at least 0
    contrast_weight: weight of the contrast, which is rewarded, at least 0
    orientation_weight: weight of the entropy of stroke directions, which is rewarded, at least 0
    """

    restarts: int = 48
    steps: int = 2500
    lr_z: float = 0.06
    lr_label: float = 0.1
    label_start: float = 4.0
    ink_target: float = 0.22
    tv_weight: float = 0.04
    ink_weight: float = 4.0
    z_weight: float = 1e-3
    label_weight: float = 2e-3
    contrast_weight: float = 1.5
    orientation_weight: float = 1.0

    def __post_init__(self) -> None:
        check_at_least(1, self, "restarts", "steps")
        check_positive(self, "lr_z", "lr_label")
        check_share(self, "ink_target")
        check_at_least(0, self, "label_start", "tv_weight", "ink_weight", "z_weight")
        check_at_least(0, self, "label_weight", "contrast_weight", "orientation_weight")

    def recover(
        self, subject: Generative, context: Context, generator: torch.Generator
    ) -> Recovery:
        device, n = generator.device, self.restarts
        wanted = context.wanted(n, device)
        named = subject.one_hot(wanted)
        z = torch.randn(n, subject.z_dim, generator=generator, device=device)
        noise = torch.randn(named.shape, generator=generator, device=device)
        logits = self.label_start * named + noise

        def loss() -> Tensor:
            label = logits.softmax(1)
            x = subject(z, label)
            stroke = self._stroke(x)
            near_z = self.z_weight * z.square().mean(1)
            near_start = near_z + self.label_weight * (label - named).square().sum(1)
            inked = self.ink_weight * (ink(x) - self.ink_target).square()
            return stroke + inked + near_start

        minimise({z: self.lr_z, logits: self.lr_label}, loss, context.steps(self.steps), [subject])
        with torch.no_grad():
            return grade_images(context, subject(z, logits.softmax(1)), wanted)

    def _stroke(self, x: Tensor) -> Tensor:
        """Score how little images (n, *shape) look like strokes, per image (n,)."""
        rough = self.tv_weight * total_variation(x)
        dark = self.contrast_weight * contrast(x)
        directions = self.orientation_weight * orientation_entropy(x)
        return rough - dark - directions
