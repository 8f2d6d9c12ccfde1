"""Fine-tuning on the retained images: the weakest honest baseline."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from unlearn.methods.base import Method, SearchSpace, Unlearned
from unlearn.methods.iterative import Iterative
from unlearn.splits import Splits
from unlearn.train import fit


@dataclass(frozen=True)
class FineTune(Iterative):
    """Minimise the model's training objective on the retained images.

    A baseline of arXiv:1911.04933.

    steps: number of optimiser steps, at least 1.
    """

    tasks: ClassVar[tuple[str, ...]] = Method.tasks
    space: ClassVar[SearchSpace] = {"steps": [100, 2000], "lr": [1e-4, 1e-2]}

    steps: int = 500

    def __call__(
        self, model: Any, splits: Splits, generator: torch.Generator, **needs: Any
    ) -> Unlearned:
        weights, curve = fit(model, splits.train.retain, self.training(), generator)
        return Unlearned(weights, curve)
