"""Fine-tuning on the retained images: the weakest honest baseline."""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch

from unlearn.errors import lookup
from unlearn.knobs import later
from unlearn.methods.base import OBJECTIVES, Method, SearchSpace, Unlearned, training_of
from unlearn.methods.iterative import Iterative
from unlearn.splits import Splits
from unlearn.train import fit

# What of the original's training belongs to its objective.
OPTIONS = ("weight_decay", "label_smoothing", "kl_weight", "z_dropout", "label_critic")


@dataclass(frozen=True)
class FineTune(Iterative):
    """Minimise the loss of the model's task on the retained images.

    A baseline of arXiv:1911.04933.

    steps: number of optimiser steps, at least 1.
    objective: `plain`; or `original`, with the weight decay, label smoothing, KL weight, z dropout
        and critic that the original was trained with.
    """

    tasks: ClassVar[tuple[str, ...]] = Method.tasks
    space: ClassVar[SearchSpace] = {"steps": [100, 2000], "lr": [1e-4, 1e-2]}
    epoch_space: ClassVar[SearchSpace] = {"epochs": [2.0, 40.0], "lr": [1e-4, 1e-2]}

    steps: int = 500
    objective: str = later("plain")

    def __post_init__(self) -> None:
        super().__post_init__()
        lookup("objective", self.objective, OBJECTIVES)

    def unlearn(
        self, model: Any, splits: Splits, generator: torch.Generator, **needs: Any
    ) -> Unlearned:
        plan = self.training()
        original = training_of(self.objective, needs)
        if original is not None:
            plan = replace(plan, **{name: getattr(original, name) for name in OPTIONS})
        weights, curve = fit(model, splits.train.retain, plan, generator)
        return Unlearned(weights, curve)
