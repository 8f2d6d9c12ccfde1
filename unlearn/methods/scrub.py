"""SCRUB (arXiv:2302.09880): a student that follows the original on retained images and departs from
it on forgotten ones."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from math import ceil
from typing import Any, ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from unlearn.errors import require
from unlearn.feeds import Phases
from unlearn.knobs import later
from unlearn.methods.base import Losses, SearchSpace, StepFunction, Unlearned
from unlearn.methods.iterative import Iterative, training_copy
from unlearn.splits import Split, Splits


@dataclass(frozen=True)
class Scrub(Iterative):
    """Minimise alpha KL(x_r) + gamma CE(x_r, y_r) - w KL(x_f), nats per image.

    KL(x) is the divergence of the student's answers from the original's, both softened by
    `temperature`. The weight of the ascent is w = `ascent` N_f / N_r, with N_f forgotten and N_r
    retained training images.

    The authors alternate epochs of ascent and of descent, in which the smaller forget set has fewer
    batches, with norms in training mode. Here one step holds both, with the same direction on
    average, and forgotten images are normalised by the running statistics; `alternate` is their
    way.

    alpha: weight of the divergence on retained images, at least 0.
    gamma: weight of the cross-entropy on retained images, at least 0.
    ascent: weight of the ascent, relative to N_f / N_r; above 0. 1 stands for forget and retain
        batches of one size, 4 for the authors' sizes of 32 and 128, N_r / N_f for the objective as
        the paper writes it, a mean beside a mean.
    temperature: divides the logits, above 0; divergences are scaled by its square. The authors'
        code takes 4, at which a student that grows surer of the forgotten class also increases
        KL(x_f), and forgets nothing (seen on digits 0 and 1); at 1 the ascent forgets.
    msteps: number of first steps that ascend, in [0, steps]; the others only repair (the paper's
        min-steps).
    lr: peak learning rate, above 0.
    alternate: epochs of ascent and of descent in turn, for the first `msteps` steps; then descent
        alone. An ascent epoch has as many steps as the forget set has batches, its loss is -ascent
        KL(x_f), and norms are in training mode.
    ascending: with `epochs`, the share of the steps that ascend, in [0, 1]; 0 for `msteps` of them,
        or all if they are fewer.
    """

    space: ClassVar[SearchSpace] = {
        "alpha": [0.01, 1.0],
        "ascent": [1.0, 10.0],
        "msteps": [10, 100],
        "temperature": [1.0, 4.0],
        "lr": [1e-4, 3e-3],
    }
    epoch_space: ClassVar[SearchSpace] = {
        "alpha": [0.01, 1.0],
        "ascent": [1.0, 10.0],
        "ascending": [0.05, 0.5],
        "temperature": [1.0, 4.0],
        "epochs": [2.0, 8.0],
        "lr": [1e-4, 3e-3],
    }

    alpha: float = 0.5
    gamma: float = 1.0
    ascent: float = 1.0
    temperature: float = 1.0
    msteps: int = 40
    lr: float = 5e-4
    alternate: bool = later(False)
    ascending: float = later(0.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.alpha >= 0, f"alpha must be at least 0, not {self.alpha}")
        require(self.gamma >= 0, f"gamma must be at least 0, not {self.gamma}")
        require(self.ascent > 0, f"ascent must be above 0, not {self.ascent}")
        require(self.temperature > 0, f"temperature must be above 0, not {self.temperature}")
        require(0 <= self.ascending <= 1, f"ascending must lie in [0, 1], not {self.ascending}")
        require(
            self.msteps >= 0 and (self.msteps <= self.steps or bool(self.epochs)),
            f"msteps must lie in [0, steps = {self.steps}], not {self.msteps}",
        )

    def unlearn(
        self, model: Any, splits: Splits, generator: torch.Generator, **needs: Any
    ) -> Unlearned:
        student = training_copy(model)
        losses = self.loss_terms(student, model, splits, generator)
        return self.minimise(student, losses, generator)

    def sized(self, train: Split) -> Self:
        steps = self.steps_for(len(train.forget), len(train.retain))
        wanted = round(self.ascending * steps) if self.ascending else self.msteps
        return replace(self, steps=steps, epochs=0.0, msteps=min(wanted, steps))

    def loss_terms(
        self, student: Any, teacher: Any, splits: Splits, generator: torch.Generator
    ) -> StepFunction:
        """Return the function that computes `forget`, `distill` and `retain`.

        `forget` is 0 after `msteps`. With `alternate`, a step computes either `forget` or both
        others, which are 0 else.
        """
        forget, retain = self.forget_retain_batches(teacher, splits, generator)
        frozen = self.teacher(teacher)
        answers_of = partial(self.logits, student)
        weight = self.ascent * len(splits.train.forget) / len(splits.train.retain)
        ascends = Phases(step < self.msteps for step in count())
        if self.alternate:
            ascends = Phases(self.alternation(splits))

        def divergence(logits: Tensor, x: Tensor) -> Tensor:
            with torch.no_grad():
                answers = self.logits(frozen, x)
            return distillation_loss(logits, answers, self.temperature)

        def climb(weight: float, answer: Callable[[Tensor], Tensor]) -> Tensor:
            x_f, _ = next(forget)
            return -weight * divergence(answer(x_f), x_f)

        def alternating() -> Losses:
            if next(ascends):
                loss = climb(self.ascent, answers_of)
                return {"forget": loss, "distill": 0 * loss, "retain": 0 * loss}
            x_r, y_r = next(retain)
            logits = answers_of(x_r)
            distill = self.alpha * divergence(logits, x_r)
            retain_loss = self.gamma * F.cross_entropy(logits, y_r)
            return {"forget": 0 * retain_loss, "distill": distill, "retain": retain_loss}

        def losses() -> Losses:
            x_r, y_r = next(retain)
            logits = answers_of(x_r)
            none = torch.zeros((), device=x_r.device)
            distill = self.alpha * divergence(logits, x_r)
            retain_loss = self.gamma * F.cross_entropy(logits, y_r)
            found = {"forget": none, "distill": distill, "retain": retain_loss}
            if next(ascends):
                found["forget"] = climb(weight, partial(self.steady_logits, student))
            return found

        return alternating if self.alternate else losses

    def alternation(self, splits: Splits) -> Iterator[bool]:
        """Yield for every step whether it ascends: an epoch of ascent, one of descent, in turn."""
        up = ceil(len(splits.train.forget) / self.batch)
        down = ceil(len(splits.train.retain) / self.batch)
        for step in count():
            yield step < self.msteps and step % (up + down) < up


def distillation_loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Return KL(teacher || student) of the softened answers times temperature^2, a scalar.

    Mean in nats over a batch of logits (n, classes). arXiv:1503.02531.
    """
    log_p = (teacher / temperature).log_softmax(1)
    log_q = (student / temperature).log_softmax(1)
    divergence = F.kl_div(log_q, log_p, reduction="batchmean", log_target=True)
    return divergence * temperature**2
