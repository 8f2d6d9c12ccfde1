"""Bad teacher (arXiv:2205.08096): learn the kept classes from the original, the forgotten ones from a fool."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from unlearn.errors import require
from unlearn.methods.base import Unlearned
from unlearn.methods.iterative import Iterative, copy_of, steady
from unlearn.methods.scrub import distillation
from unlearn.models.fresh import fresh
from unlearn.splits import Splits


@dataclass(frozen=True)
class BadTeacher(Iterative):
    """L = KL(T_d(x_f) || S(x_f)) + KL(T_s(x_r) || S(x_r)): T_s the original, T_d its architecture at random weights.

    Answers are softened by `temperature` (1 in the paper) and the losses scaled by its square. The forgotten images'
    answers become the fool's own, which the retrained oracle's are not: high ZRF, and a gap to the oracle.
    """

    space: ClassVar[dict[str, list[Any]]] = {"temperature": [1.0, 4.0], "lr": [1e-4, 3e-3]}

    temperature: float = 1.0
    steps: int = 100
    lr: float = 1e-3

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.temperature > 0, f"temperature must be above 0, not {self.temperature}")

    def __call__(
        self, model: Any, splits: Splits, generator: torch.Generator, **needs: Any
    ) -> Unlearned:
        pupil, fool = copy_of(model), fresh(model, generator)
        forget, retain = self.pair(model, splits, generator)

        def terms() -> dict[str, Tensor]:
            x_f, x_r = next(forget)[0], next(retain)[0]
            with torch.no_grad():
                foolish, wise = fool(x_f), model(x_r)
            return {
                "forget": distillation(steady(pupil, x_f), foolish, self.temperature),
                "retain": distillation(pupil(x_r), wise, self.temperature),
            }

        return self.settle(pupil, terms, generator)
