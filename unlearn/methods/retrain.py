"""Retraining without the forget set (exact unlearning, arXiv:1912.03817)."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from unlearn.methods.base import Method, Unlearned
from unlearn.splits import Splits


@dataclass(frozen=True)
class Retrain(Method):
    """Return the oracle's weights: the reference of every other method gets rows of its own."""

    needs: ClassVar[tuple[str, ...]] = ("oracle",)
    closed_form: ClassVar[bool] = True

    def __call__(
        self, model: Any, splits: Splits, generator: torch.Generator, **needs: Any
    ) -> Unlearned:
        oracle = needs["oracle"]
        return Unlearned({name: tensor.detach().clone() for name, tensor in oracle.items()})
