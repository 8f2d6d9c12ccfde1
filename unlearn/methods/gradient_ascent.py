"""Gradient ascent on the forgotten images: unlearn by undoing, with nothing to hold the rest."""

import copy
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from unlearn.data import Splits
from unlearn.methods.base import Method, Unlearned
from unlearn.methods.iterative import Iterative
from unlearn.objectives import OBJECTIVES
from unlearn.train import descend, snapshot


@dataclass(frozen=True)
class GradientAscent(Iterative):
    """Minimises minus the model's objective on the forgotten training images (arXiv:2109.13398).

    Norm layers keep their running statistics (eval mode): a batch of one class would wreck them by itself.
    """

    tasks: ClassVar[tuple[str, ...]] = Method.tasks
    space: ClassVar[dict[str, list[Any]]] = {"steps": [5, 100], "lr": [1e-5, 1e-3]}

    steps: int = 20
    lr: float = 1e-4
    schedule: str = "constant"

    def __call__(self, model: Any, splits: Splits, generator: torch.Generator, **needs: Any) -> Unlearned:
        pupil = copy.deepcopy(model).eval()
        batches = splits.train.forget.to(next(pupil.parameters()).device).batches(self.batch, generator)
        objective = OBJECTIVES[pupil.task]

        def terms() -> dict[str, Tensor]:
            x, y = next(batches)
            return {"forget": -objective(pupil, x, y, generator).mean()}

        curve = descend(pupil, terms, self.plan())
        return Unlearned(snapshot(pupil), curve)
