"""Gradient ascent on the forgotten images, with no term that protects the retained ones."""

import copy
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from unlearn.errors import lookup
from unlearn.methods.base import Losses, Method, SearchSpace, Unlearned
from unlearn.methods.iterative import NORMS, Iterative
from unlearn.objectives import OBJECTIVES
from unlearn.splits import Splits
from unlearn.train import autocast


@dataclass(frozen=True)
class GradientAscent(Iterative):
    """Minimise minus the model's objective on the forgotten training images (arXiv:2109.13398).

    steps: number of optimiser steps, at least 1.
    lr: peak learning rate, above 0.
    schedule: course of the learning rate, `one-cycle`, `cosine` or `constant`.
    norms: statistics of the norm layers. `running` keeps the running ones (eval mode), because a
        batch of one class would wreck them by itself; `batch` takes those of each batch and
        updates the running ones (training mode), as much public code does (reference 5's baseline).
    """

    tasks: ClassVar[tuple[str, ...]] = Method.tasks
    reads: ClassVar[str] = "forget"
    space: ClassVar[SearchSpace] = {"steps": [5, 100], "lr": [1e-5, 1e-3]}
    epoch_space: ClassVar[SearchSpace] = {"epochs": [1.0, 16.0], "lr": [1e-5, 1e-3]}

    steps: int = 20
    lr: float = 1e-4
    schedule: str = "constant"
    norms: str = "running"

    def __post_init__(self) -> None:
        super().__post_init__()
        lookup("norms", self.norms, NORMS)

    def unlearn(
        self, model: Any, splits: Splits, generator: torch.Generator, **needs: Any
    ) -> Unlearned:
        student = copy.deepcopy(model).train(self.norms == "batch")
        forget = self.batches(student, splits.train.forget, generator)
        objective = OBJECTIVES[student.task]

        def losses() -> Losses:
            x, y = next(forget)
            with autocast(x.device, self.precision):
                per_image = objective(student, x, y, generator)
            return {"forget": -per_image.mean()}

        return self.minimise(student, losses, generator)
