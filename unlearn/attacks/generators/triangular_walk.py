"""Attack 5: walk from a kept class through a forgotten one to a second kept class."""

from dataclasses import dataclass

import torch
from torch import Tensor

from unlearn.attacks.generators.base import Context, Recovery
from unlearn.attacks.generators.walks import WalkAttack, leg, walk
from unlearn.models.base import Generative


@dataclass(frozen=True)
class TriangularWalk(WalkAttack):
    """Walk two straight legs, kept to forgotten to kept, in z and in the label (seed 001).

    The original's encoder gives the three corners.
    """

    def recover(
        self, subject: Generative, context: Context, generator: torch.Generator
    ) -> Recovery:
        wanted = context.wanted(self.trials, generator.device)
        first = context.kept(self.trials, generator)
        second = context.kept(self.trials, generator)
        corner = context.encoded(wanted, generator)
        start = context.encoded(first, generator)
        end = context.encoded(second, generator)
        z = self._legs(start, corner, end)
        one_hot = subject.one_hot
        c = self._legs(one_hot(first), one_hot(wanted), one_hot(second))
        return walk(subject, context, z, c, wanted)

    def _legs(self, start: Tensor, corner: Tensor, end: Tensor) -> Tensor:
        """Walk from `start` over `corner` to `end`: (n, d) -> (n, 2 * frames, d)."""
        there = leg(start, corner, self.frames)
        back = leg(corner, end, self.frames)
        return torch.cat([there, back], 1)
