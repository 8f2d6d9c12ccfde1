"""Fine-tuning on what is kept, and hoping: the weakest baseline that is honest."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from unlearn.methods.base import Method, Unlearned
from unlearn.methods.iterative import Iterative
from unlearn.splits import Splits
from unlearn.train import fit


@dataclass(frozen=True)
class FineTune(Iterative):
    """`steps` more steps of the model's own objective on the retained training images (arXiv:1911.04933's baseline)."""

    tasks: ClassVar[tuple[str, ...]] = Method.tasks
    space: ClassVar[dict[str, list[Any]]] = {"steps": [100, 2000], "lr": [1e-4, 1e-2]}

    steps: int = 500

    def __call__(
        self, model: Any, splits: Splits, generator: torch.Generator, **needs: Any
    ) -> Unlearned:
        return Unlearned(*fit(model, splits.train.retain, self.plan(), generator))
