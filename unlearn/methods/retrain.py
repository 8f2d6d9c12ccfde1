"""Retraining without the forget set: the oracle itself, as a method, so that it has rows of its own."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from unlearn.methods.base import Method, Unlearned
from unlearn.splits import Splits


@dataclass(frozen=True)
class Retrain(Method):
    """Returns the oracle's weights. What any other method is measured against (exact unlearning, arXiv:1912.03817)."""

    needs: ClassVar[tuple[str, ...]] = ("oracle",)
    closed_form: ClassVar[bool] = True

    def __call__(
        self, model: Any, splits: Splits, generator: torch.Generator, **needs: Any
    ) -> Unlearned:
        return Unlearned(
            {name: tensor.detach().clone() for name, tensor in needs["oracle"].items()}
        )
