"""Attack 3: walk from a kept class to a forgotten one in the latents, under the kept label."""

from dataclasses import dataclass

import torch

from unlearn.attacks.generators.base import Context, Recovery
from unlearn.attacks.generators.walks import WalkAttack, leg, walk
from unlearn.models.base import Generative


@dataclass(frozen=True)
class DeceptiveLabel(WalkAttack):
    """Walk straight in z from a kept to a forgotten image; the label stays the kept one (seed 001).

    The original's encoder gives both ends. The forgotten label is never used.
    """

    def recover(
        self, subject: Generative, context: Context, generator: torch.Generator
    ) -> Recovery:
        wanted = context.wanted(self.trials, generator.device)
        kept = context.kept(self.trials, generator)
        start = context.encoded(kept, generator)
        end = context.encoded(wanted, generator)
        z = leg(start, end, self.frames)
        c = subject.one_hot(kept).unsqueeze(1).expand(-1, self.frames, -1)
        return walk(subject, context, z, c, wanted)
