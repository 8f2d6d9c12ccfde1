"""Gradient ascent on the forgotten images: unlearn by undoing, with nothing to hold the rest."""

import copy
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from unlearn.data import Splits
from unlearn.methods.base import Method, Unlearned
from unlearn.objectives import OBJECTIVES
from unlearn.train import Schedule, descend, snapshot


@dataclass(frozen=True)
class GradientAscent(Method):
    """Minimises minus the model's objective on the forgotten training images (arXiv:2109.13398).

    Norm layers keep their running statistics (eval mode): a batch of one class would wreck them by itself.
    """

    space: ClassVar[dict[str, list[Any]]] = {"steps": [5, 100], "lr": [1e-5, 1e-3]}

    steps: int = 20
    batch: int = 64
    lr: float = 1e-4
    schedule: str = "constant"

    def __post_init__(self) -> None:
        Schedule(self.steps, self.batch, self.lr, self.schedule)

    def __call__(self, model: Any, splits: Splits, generator: torch.Generator, **needs: Any) -> Unlearned:
        pupil = copy.deepcopy(model).eval()
        batches = splits.train.forget.to(next(pupil.parameters()).device).batches(self.batch, generator)
        objective = OBJECTIVES[pupil.task]

        def terms() -> dict[str, Tensor]:
            x, y = next(batches)
            return {"forget": -objective(pupil, x, y, generator).mean()}

        curve = descend(pupil, terms, Schedule(self.steps, self.batch, self.lr, self.schedule))
        return Unlearned(snapshot(pupil), curve)
