"""Gradient ascent on the forgotten images: unlearn by undoing, with nothing to hold the rest."""

import copy
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from unlearn.errors import lookup
from unlearn.methods.base import Method, Unlearned
from unlearn.methods.iterative import NORMS, Iterative
from unlearn.objectives import OBJECTIVES
from unlearn.splits import Splits


@dataclass(frozen=True)
class GradientAscent(Iterative):
    """Minimises minus the model's objective on the forgotten training images (arXiv:2109.13398).

    norms: layers keep their `running` statistics (eval mode), because a batch of one class would wreck them by itself,
    or take each `batch`'s own (training mode), as much public code does (reference 5's baseline).
    """

    tasks: ClassVar[tuple[str, ...]] = Method.tasks
    space: ClassVar[dict[str, list[Any]]] = {"steps": [5, 100], "lr": [1e-5, 1e-3]}

    steps: int = 20
    lr: float = 1e-4
    schedule: str = "constant"
    norms: str = "running"

    def __post_init__(self) -> None:
        super().__post_init__()
        lookup("norms", self.norms, NORMS)

    def __call__(
        self, model: Any, splits: Splits, generator: torch.Generator, **needs: Any
    ) -> Unlearned:
        pupil = copy.deepcopy(model).train(self.norms == "batch")
        batches = self.batches(pupil, splits.train.forget, generator)
        objective = OBJECTIVES[pupil.task]

        def terms() -> dict[str, Tensor]:
            x, y = next(batches)
            return {"forget": -objective(pupil, x, y, generator).mean()}

        return self.settle(pupil, terms, generator)
