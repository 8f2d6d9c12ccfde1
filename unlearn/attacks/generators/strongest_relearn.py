"""Relearning at several rates, with and without the forgotten label's weights: the strongest."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from unlearn.attacks.generators.base import Context, GeneratorAttack, Recovery
from unlearn.attacks.generators.label_columns import label_columns
from unlearn.attacks.generators.relearn import Exam, Lesson, Relearn
from unlearn.attacks.generators.strongest import (
    Variant,
    check_ladder,
    each_alone,
    plain_of,
    strongest,
    variants_of,
)
from unlearn.models.base import Generative
from unlearn.stack import Stack, can_be_stacked, unstack
from unlearn.stacked import StackedElbo, elbo_draws
from unlearn.train import Schedule, logged_steps


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
        variants = variants_of(self, "reset", resets)
        plain = plain_of(self, Relearn)

        def attack(variant: Variant) -> Relearn:
            return replace(plain, lr=variant["lr"], reset_label=bool(variant["reset"]))

        def alone(variant: Variant) -> Recovery:
            return attack(variant).recover(subject, context, generator)

        if together_pays(subject, generator.device):
            start, attacks = generator.get_state(), [attack(variant) for variant in variants]
            try:
                return strongest(variants, relearn_together(attacks, subject, context, generator))
            except RuntimeError:  # too little memory, or a layer without a rule in torch.func
                generator.set_state(start)
        return strongest(variants, each_alone(variants, alone, generator))


def together_pays(subject: Generative, device: torch.device) -> bool:
    """Whether copies of the subject relearn faster as one program: small ones do on a GPU."""
    return device.type == "cuda" and can_be_stacked(subject)


def relearn_together(
    attacks: Sequence[Relearn], subject: Generative, context: Context, generator: torch.Generator
) -> list[Recovery]:
    """Run attacks that differ in `lr` and `reset_label` alone as one program (`unlearn.stack`).

    Each gives what it gives alone, up to rounding.
    """
    lesson = Lesson(attacks[0], subject, context, generator)
    pupils = [attack.pupil(subject, context) for attack in attacks]
    exams = [Exam(lesson, pupil) for pupil in pupils]
    members = [StackedElbo(pupil) for pupil in pupils]
    stack, many = Stack(members), len(members)
    rates = [attack.lr for attack in attacks]

    def terms() -> dict[str, Tensor]:
        x, y = next(lesson.batches)
        noise, _ = elbo_draws(len(y), subject.z_dim, 0.0, [generator])
        shared = (x.unsqueeze(0), subject.one_hot(y).unsqueeze(0), noise)
        own = [each.expand(many, *each.shape[1:]) for each in shared]
        return {"loss": stack(*own, None).mean(1)}

    def watch(step: int, _: nn.Module) -> None:
        if step % lesson.attack.every == 0:
            unstack(stack, members)
            for exam in exams:
                exam(step)

    plan = Schedule(lesson.steps, lesson.attack.batch, max(rates), "constant")
    logged_steps(stack, terms, plan, watch=watch, after=OwnRates(stack, rates))
    unstack(stack, members)
    return [exam.result() for exam in exams]


class OwnRates:
    """Gives each member of a stack its own rate, after an optimizer that has moved all by the
    highest: takes back what is too much. Exact where, as in Adam, a move is proportional to the
    rate."""

    def __init__(self, stack: Stack, rates: Sequence[float]) -> None:
        self.weights: list[Tensor] = [weight.detach() for weight in stack.weights]
        self.before = [weight.clone() for weight in self.weights]
        shares = self.weights[0].new_tensor(rates) / max(rates)
        self.shares = [shares.view(-1, *[1] * (weight.dim() - 1)) for weight in self.weights]

    def __call__(self) -> None:
        """Move back, and remember where the members are now."""
        for weight, before, share in zip(self.weights, self.before, self.shares, strict=True):
            before.lerp_(weight, share)
            weight.copy_(before)
