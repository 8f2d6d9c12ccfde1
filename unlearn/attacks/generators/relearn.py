"""Relearning: how many training steps bring the forgotten class back into a generator."""

import copy
from dataclasses import dataclass, replace
from math import ceil
from typing import ClassVar

import torch
from torch import Tensor, nn

from unlearn.attacks.base import check_at_least, check_positive
from unlearn.attacks.generators.base import Context, GeneratorAttack, Recovery, grade_images
from unlearn.attacks.generators.label_columns import label_columns, reset_label
from unlearn.attacks.generators.strongest import (
    Variant,
    check_ladder,
    ladder,
    plain_of,
    strongest,
)
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
        pupil = copy.deepcopy(subject)
        if self.reset_label:
            reset_label(pupil, context.forget)
        images, device = self._images(context, generator), generator.device
        wanted = context.wanted(self.trials, device)
        z = torch.randn(self.trials, subject.z_dim, generator=generator, device=device)
        batches = images.to(device).batches(self.batch, generator)
        reached: list[int] = []

        def terms() -> dict[str, Tensor]:
            x, y = next(batches)
            return {"loss": generator_loss(pupil, x, y, generator).mean()}

        @torch.no_grad()
        def draw() -> Tensor:
            drawn: Tensor = pupil(z, pupil.one_hot(wanted))
            return drawn

        def watch(step: int, _: nn.Module) -> None:
            due = step > 0 and step % self.every == 0 and not reached
            if due and self._is_back(context, draw(), wanted):
                reached.append(step)

        steps = ceil(context.steps(self.steps) / self.every) * self.every
        logged_steps(pupil, terms, Schedule(steps, self.batch, self.lr, "constant"), watch=watch)
        end = grade_images(context, draw(), wanted)
        return replace(end, steps=reached[0] if reached else None, reached=bool(reached))

    def _images(self, context: Context, generator: torch.Generator) -> Images:
        """Choose what the copy learns from."""
        train = context.splits.train
        if self.per_class == 0:
            return train.retain
        return shots(train.forget, self.per_class, self.batch, generator)

    def _is_back(self, context: Context, drawn: Tensor, wanted: Tensor) -> bool:
        """Tell whether the grader reads enough of the drawn images as the wanted class."""
        share = context.graded(drawn, wanted).float().mean()
        return bool(share >= self.recovered)


@dataclass(frozen=True)
class StrongestRelearn(Relearn):
    """Relearn at a ladder of learning rates, with and without `reset_label`; report the strongest.

    One rate shows that relearning is obstructed at that rate, not that the class is absent.

    lr: the lowest rate of the ladder, above 0
    highest_lr: its highest rate, at least `lr`
    rungs: number of rates, at equal ratios; at least 1
    reset_label: leave out the variants that do not reset the weights of the forgotten labels
    """

    subject_columns: ClassVar[dict[str, type]] = {
        **GeneratorAttack.subject_columns,
        "lr": float,
        "reset": float,
    }
    meanings: ClassVar[dict[str, str]] = {
        **GeneratorAttack.meanings,
        "lr": "learning rate of the strongest variant",
        "reset": "1 where the strongest variant reset the label's weights, else 0",
    }

    highest_lr: float = 1e-2
    rungs: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        check_ladder(self)

    def recover(
        self, subject: Generative, context: Context, generator: torch.Generator
    ) -> Recovery:
        resets = [True] if self.reset_label else [False, True]
        if not label_columns(subject):
            resets = [False]
        plain = plain_of(self, Relearn)

        def relearn(variant: Variant) -> Recovery:
            attack = replace(plain, lr=variant["lr"], reset_label=bool(variant["reset"]))
            return attack.recover(subject, context, generator)

        rates = ladder(self.lr, self.highest_lr, self.rungs)
        variants = [{"lr": lr, "reset": float(reset)} for reset in resets for lr in rates]
        return strongest(variants, relearn, generator)


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
