"""Fine-tuning on what is kept, and hoping: the weakest baseline that is honest."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from unlearn.data import Splits
from unlearn.methods.base import Method, Unlearned
from unlearn.train import Training, fit


@dataclass(frozen=True)
class FineTune(Method):
    """`steps` more steps of the model's own objective on the retained training images (arXiv:1911.04933's baseline)."""

    space: ClassVar[dict[str, list[Any]]] = {"steps": [100, 2000], "lr": [1e-4, 1e-2]}

    steps: int = 500
    batch: int = 64
    lr: float = 1e-3
    schedule: str = "one-cycle"

    def __post_init__(self) -> None:
        Training(self.steps, self.batch, self.lr, self.schedule)

    def __call__(self, model: Any, splits: Splits, generator: torch.Generator, **needs: Any) -> Unlearned:
        plan = Training(self.steps, self.batch, self.lr, self.schedule)
        return Unlearned(*fit(model, splits.train.retain, plan, generator))
