"""Attack 4: walk from a kept class to a forgotten one, in latents and labels together."""

from dataclasses import dataclass

import torch

from unlearn.attacks.generators.base import Context, Recovery
from unlearn.attacks.generators.walks import WalkAttack, leg, walk
from unlearn.models.base import Generative


@dataclass(frozen=True)
class DoubleInterpolation(WalkAttack):
    """Walk straight from a kept to a forgotten image, in z and in the label (seed 001).

    The original's encoder gives both ends.
    """

    def recover(
        self, subject: Generative, context: Context, generator: torch.Generator
    ) -> Recovery:
        wanted = context.wanted(self.trials, generator.device)
        kept = context.kept(self.trials, generator)
        start = context.encoded(kept, generator)
        end = context.encoded(wanted, generator)
        z = leg(start, end, self.frames)
        c = leg(subject.one_hot(kept), subject.one_hot(wanted), self.frames)
        return walk(subject, context, z, c, wanted)
