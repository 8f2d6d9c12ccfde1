"""NegGrad+: gradient ascent on what is forgotten, held by descent on what is kept."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from unlearn.errors import require
from unlearn.methods.base import Unlearned
from unlearn.methods.iterative import Iterative, copy_of, steady
from unlearn.splits import Splits


@dataclass(frozen=True)
class NegGradPlus(Iterative):
    """L = beta CE(retain) - (1 - beta) CE(forget), the baseline of SCRUB's paper (arXiv:2302.09880, section 4).

    beta = 1 is fine-tuning, beta = 0 gradient ascent. Norm layers take statistics from retained images alone. The
    ascent has no floor: a low beta wrecks the model, and the forget accuracy does not tell. Read the retain accuracy.
    """

    space: ClassVar[dict[str, list[Any]]] = {"beta": [0.9, 0.9999], "lr": [1e-4, 3e-3]}

    beta: float = 0.99
    steps: int = 100
    lr: float = 5e-4

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 <= self.beta <= 1, f"beta must lie in [0, 1], not {self.beta}")

    def __call__(
        self, model: Any, splits: Splits, generator: torch.Generator, **needs: Any
    ) -> Unlearned:
        pupil = copy_of(model)
        forget, retain = self.pair(model, splits, generator)

        def terms() -> dict[str, Tensor]:
            (x_f, y_f), (x_r, y_r) = next(forget), next(retain)
            return {
                "forget": -(1 - self.beta) * F.cross_entropy(steady(pupil, x_f), y_f),
                "retain": self.beta * F.cross_entropy(pupil(x_r), y_r),
            }

        return self.settle(pupil, terms, generator)
