"""SCRUB (arXiv:2302.09880): a student that disobeys its teacher on what is forgotten and obeys it on the rest."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from unlearn.data import Splits
from unlearn.errors import require
from unlearn.feeds import Phases
from unlearn.methods.base import Unlearned
from unlearn.methods.iterative import Iterative, copy_of, steady


def distillation(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Mean KL(teacher || student) in nats of the softened answers, times temperature^2 (arXiv:1503.02531)."""
    log_p, log_q = (teacher / temperature).log_softmax(1), (student / temperature).log_softmax(1)
    return F.kl_div(log_q, log_p, reduction="batchmean", log_target=True) * temperature**2


@dataclass(frozen=True)
class Scrub(Iterative):
    """L = alpha KL(retain) + gamma CE(retain) - w KL(forget), KL from the original's answers at `temperature`.

    The ascent on the forgotten images takes part in the first `msteps` of `steps` only, so that the rest repairs (the
    paper's min-steps). The paper alternates epochs of ascent and descent, in which the smaller forget set has fewer
    batches; here one step holds both, with the same direction on average and one optimiser state: w = `ascent` N_f /
    N_r, where 1 stands for batches of one size, 4 for the authors' of 32 and 128, and N_r / N_f for the objective as
    the paper writes it, a mean beside a mean. Its code softens by temperature 4, where a student that grows surer of
    the forgotten class climbs as well and forgets nothing (seen on digits 0 and 1); at 1 the way up leads away.
    """

    space: ClassVar[dict[str, list[Any]]] = {
        "alpha": [0.01, 1.0],
        "ascent": [1.0, 10.0],
        "msteps": [10, 100],
        "temperature": [1.0, 4.0],
        "lr": [1e-4, 3e-3],
    }

    alpha: float = 0.5
    gamma: float = 1.0
    ascent: float = 1.0
    temperature: float = 1.0
    msteps: int = 40
    lr: float = 5e-4

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.alpha >= 0, f"alpha must be at least 0, not {self.alpha}")
        require(self.gamma >= 0, f"gamma must be at least 0, not {self.gamma}")
        require(self.ascent > 0, f"ascent must be above 0, not {self.ascent}")
        require(self.temperature > 0, f"temperature must be above 0, not {self.temperature}")
        require(
            0 <= self.msteps <= self.steps,
            f"msteps must lie in [0, steps = {self.steps}], not {self.msteps}",
        )

    def __call__(
        self, model: Any, splits: Splits, generator: torch.Generator, **needs: Any
    ) -> Unlearned:
        pupil = copy_of(model)
        return self.settle(pupil, self.terms(pupil, model, splits, generator), generator)

    def terms(
        self, pupil: Any, teacher: Any, splits: Splits, generator: torch.Generator
    ) -> Callable[[], dict]:
        """The three losses; `forget` is 0 after `msteps` steps."""
        forget, retain = self.pair(teacher, splits, generator)
        weight = self.ascent * len(splits.train.forget) / len(splits.train.retain)
        climbs = Phases(step < self.msteps for step in count())

        def terms() -> dict[str, Tensor]:
            x_r, y_r = next(retain)
            answers = pupil(x_r)
            losses = {
                "forget": torch.zeros((), device=x_r.device),
                "distill": self.alpha * distillation(answers, _ask(teacher, x_r), self.temperature),
                "retain": self.gamma * F.cross_entropy(answers, y_r),
            }
            if next(climbs):
                x_f, _ = next(forget)
                climb = distillation(steady(pupil, x_f), _ask(teacher, x_f), self.temperature)
                losses["forget"] = -weight * climb
            return losses

        return terms


@torch.no_grad()
def _ask(teacher: Any, x: Tensor) -> Tensor:
    return teacher(x)
