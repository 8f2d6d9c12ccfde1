"""What both boundary methods (CVPR 2023, Chen et al., "Boundary Unlearning") have in common."""

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor

from unlearn.errors import lookup, require
from unlearn.methods.base import Losses, SearchSpace
from unlearn.methods.iterative import NORMS, Batches, Iterative, forgotten_logits


@dataclass(frozen=True)
class Boundary(Iterative):
    """Minimise CE(x_f, y') + alpha CE(x_r, y_r); the paper reads no retained image: alpha = 0.

    alpha: weight of the retained images, at least 0; at 0 they are not read.
    steps: number of optimiser steps, at least 1.
    norms: statistics that normalise the forgotten images. `running` takes the running ones and
        leaves them as they are, `batch` (the authors' code) those of the batch, which then count.
    """

    reads: ClassVar[str] = "forget"
    space: ClassVar[SearchSpace] = {"alpha": [0.1, 3.0], "lr": [1e-4, 3e-3]}
    epoch_space: ClassVar[SearchSpace] = {**space, "epochs": [5.0, 20.0]}

    steps: int = 60
    alpha: float = 0.0
    norms: str = "running"

    def __post_init__(self) -> None:
        super().__post_init__()
        lookup("norms", self.norms, NORMS)
        require(self.alpha >= 0, f"alpha must be at least 0, not {self.alpha}")

    def losses_of(self, student: Any, x_f: Tensor, labels: Tensor, retain: Batches) -> Losses:
        """Return `forget`, and `retain` unless alpha is 0, for forgotten images under `labels`."""
        answer = partial(forgotten_logits, student, norms=self.norms)
        logits = self.logits(answer, x_f)
        found = {"forget": F.cross_entropy(logits, labels)}
        if self.alpha > 0:
            x_r, y_r = next(retain)
            found["retain"] = self.alpha * F.cross_entropy(self.logits(student, x_r), y_r)
        return found
