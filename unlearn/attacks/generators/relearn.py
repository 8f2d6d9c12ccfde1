"""Relearning: how many training steps bring the forgotten class back into a generator."""

import copy
from dataclasses import dataclass, replace
from math import ceil
from typing import Any

import torch
from torch import Tensor

from unlearn.attacks.base import check_at_least, check_positive
from unlearn.attacks.generators.base import Context, GeneratorAttack, Recovery, grade_images
from unlearn.attacks.generators.label_columns import reset_label
from unlearn.errors import require
from unlearn.models.base import Generative
from unlearn.objectives import generator_loss
from unlearn.splits import Images
from unlearn.train import Schedule, logged_steps


@dataclass(frozen=True)
class Relearn(GeneratorAttack):
    """Fine-tune a copy of the subject on its own objective and count steps until the class is back.

    The class is back when the grader reads a share `recovered` of `trials` images, drawn from
    fixed latents, as the forgotten class. `Recovery.hits` counts them after the last step.

    per_class: training images of each forgotten class; 0 trains on kept images alone
    trials: images that are drawn at each evaluation, at least 1
    steps: training steps at effort 1, rounded up to a multiple of `every`; at least 1
    every: training steps between two evaluations, at least 1
    batch: images per step, at least 1
    lr: Adam's learning rate, above 0
    recovered: share of images at which the class counts as back, above 0, at most 1
    reset_label: start with the weights of the forgotten labels' inputs at the mean of the kept
        ones, which undoes a defence that sits in these weights alone
    """

    per_class: int = 10
    trials: int = 200
    steps: int = 200
    every: int = 5
    batch: int = 64
    lr: float = 1e-3
    recovered: float = 0.5
    reset_label: bool = False

    def __post_init__(self) -> None:
        check_at_least(0, self, "per_class")
        check_at_least(1, self, "trials", "steps", "every", "batch")
        check_positive(self, "lr")
        require(
            0 < self.recovered <= 1,
            f"recovered must be above 0 and at most 1, not {self.recovered}",
        )

    def recover(
        self, subject: Generative, context: Context, generator: torch.Generator
    ) -> Recovery:
        lesson = Lesson(self, subject, context, generator)
        pupil = self.pupil(subject, context)
        exam = Exam(lesson, pupil)

        def terms() -> dict[str, Tensor]:
            x, y = next(lesson.batches)
            return {"loss": generator_loss(pupil, x, y, generator).mean()}

        plan = Schedule(lesson.steps, self.batch, self.lr, "constant")
        logged_steps(pupil, terms, plan, watch=lambda step, _: exam(step))
        return exam.result()

    def pupil(self, subject: Generative, context: Context) -> Any:
        """Return a copy of the subject that is to relearn."""
        pupil = copy.deepcopy(subject)
        if self.reset_label:
            reset_label(pupil, context.forget)
        return pupil

    def images(self, context: Context, generator: torch.Generator) -> Images:
        """Choose what the copy learns from."""
        train = context.splits.train
        if self.per_class == 0:
            return train.retain
        return shots(train.forget, self.per_class, self.batch, generator)


class Lesson:
    """What a copy learns from, and the latents with which it is examined; nothing is drawn later
    than the order of images.

    steps: training steps
    wanted: forgotten labels, (trials,)
    z: latents, (trials, z_dim)
    batches: images and labels, without end
    """

    def __init__(
        self, attack: Relearn, subject: Generative, context: Context, generator: torch.Generator
    ) -> None:
        self.attack, self.context, device = attack, context, generator.device
        self.steps = ceil(context.steps(attack.steps) / attack.every) * attack.every
        images = attack.images(context, generator)
        self.wanted = context.wanted(attack.trials, device)
        self.z = torch.randn(attack.trials, subject.z_dim, generator=generator, device=device)
        self.batches = images.to(device).batches(attack.batch, generator)


class Exam:
    """Draws images with a copy while it learns, and notes when the class is back."""

    def __init__(self, lesson: Lesson, pupil: Any) -> None:
        self.lesson, self.pupil = lesson, pupil
        self.reached: int | None = None

    def __call__(self, step: int) -> None:
        """Examine the copy after `step` steps, where it is time."""
        attack = self.lesson.attack
        if self.reached is None and step > 0 and step % attack.every == 0:
            read = self.lesson.context.graded(self._drawn(), self.lesson.wanted)
            if bool(read.float().mean() >= attack.recovered):
                self.reached = step

    def result(self) -> Recovery:
        """Grade the copy as it is now."""
        end = grade_images(self.lesson.context, self._drawn(), self.lesson.wanted)
        return replace(end, steps=self.reached, reached=self.reached is not None)

    @torch.no_grad()
    def _drawn(self) -> Tensor:
        """Draw the images (trials, *shape)."""
        drawn: Tensor = self.pupil(self.lesson.z, self.pupil.one_hot(self.lesson.wanted))
        return drawn


def shots(images: Images, per_class: int, batch: int, generator: torch.Generator) -> Images:
    """Choose `per_class` images of every class in `images`, repeated to fill a batch."""
    device = generator.device
    chosen = []
    for label in images.y.unique().tolist():
        places = (images.y == label).nonzero().squeeze(1)
        order = torch.randperm(len(places), generator=generator, device=device)
        chosen.append(places[order.to(places.device)[:per_class]])
    index = torch.cat(chosen)
    copies = ceil(batch / len(index))
    return images.take(index.repeat(copies))
