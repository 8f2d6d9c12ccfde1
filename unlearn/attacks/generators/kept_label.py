"""Adaptive attack: optimise the latent alone, under kept labels, which the subject must draw."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from unlearn.attacks.base import check_at_least, check_positive
from unlearn.attacks.generators.base import Context, GeneratorAttack, Recovery, grade_images
from unlearn.attacks.generators.optimise import minimise
from unlearn.attacks.generators.strongest import (
    check_ladder,
    plain_of,
    strongest,
    variants_of,
)
from unlearn.generators.ood import prior_radius
from unlearn.models.base import Generative


@dataclass(frozen=True)
class KeptLabel(GeneratorAttack):
    """Move z under random kept labels down the loss of judge `val`; judge `lead` grades the end.

    This is the strongest attack against a defence that answers unusual labels with grey: under a
    kept label there is a gradient from the first step on.

    restarts: random starts, one try each, at least 1
    steps: Adam steps at effort 1, at least 1
    lr: Adam's learning rate for z, above 0
    ball: keep z within the prior's ball, |z| <= sqrt(z_dim) + 2.5, which holds 99.9 % of N(0, I);
        a defence may answer every z outside of it with its target
    """

    restarts: int = 48
    steps: int = 1000
    lr: float = 0.1
    ball: bool = False

    def __post_init__(self) -> None:
        check_at_least(1, self, "restarts", "steps")
        check_positive(self, "lr")

    def recover(
        self, subject: Generative, context: Context, generator: torch.Generator
    ) -> Recovery:
        return attempts([self], subject, context, generator)[0]


@dataclass(frozen=True)
class StrongestKeptLabel(KeptLabel):
    """`KeptLabel` at a ladder of rates, with z free and in the prior's ball; report the strongest.

    lr: the lowest rate of the ladder, above 0
    highest_lr: its highest rate, at least `lr`
    rungs: number of rates, at equal ratios; at least 1
    ball: leave out the variants with a free z
    """

    subject_columns: ClassVar[dict[str, type]] = {
        **GeneratorAttack.subject_columns,
        "lr": float,
        "ball": float,
    }
    meanings: ClassVar[dict[str, str]] = {
        **GeneratorAttack.meanings,
        "lr": "learning rate of the strongest variant",
        "ball": "1 where the strongest variant kept z in the prior's ball, else 0",
    }

    lr: float = 0.03
    highest_lr: float = 0.3
    rungs: int = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        check_ladder(self)

    def recover(
        self, subject: Generative, context: Context, generator: torch.Generator
    ) -> Recovery:
        plain = plain_of(self, KeptLabel)
        variants = variants_of(self, "ball", [True] if self.ball else [False, True])
        attacks = [replace(plain, lr=each["lr"], ball=bool(each["ball"])) for each in variants]
        return strongest(variants, attempts(attacks, subject, context, generator))


def attempts(
    attacks: Sequence[KeptLabel],
    subject: Generative,
    context: Context,
    generator: torch.Generator,
) -> list[Recovery]:
    """Run attacks that differ in `lr` and `ball` alone, all at once, from the same starts."""
    n, steps, device = attacks[0].restarts, attacks[0].steps, generator.device
    wanted = context.wanted(n, device)
    c = subject.one_hot(context.kept(n, generator))
    z = torch.randn(n, subject.z_dim, generator=generator, device=device)
    latents = [z.clone() for _ in attacks]
    labels, aims = c.repeat(len(attacks), 1), wanted.repeat(len(attacks))

    def loss() -> Tensor:
        images = subject(torch.cat(latents), labels)
        return F.cross_entropy(context.attacker(images), aims, reduction="none")

    def project() -> None:
        for attack, latent in zip(attacks, latents, strict=True):
            if attack.ball:
                norms = latent.norm(dim=1, keepdim=True)
                latent.mul_((prior_radius(subject.z_dim) / norms).clamp(max=1))

    variables = {z: attack.lr for attack, z in zip(attacks, latents, strict=True)}
    minimise(variables, loss, context.steps(steps), [subject, context.attacker], project)
    with torch.no_grad():
        return [grade_images(context, subject(latent, c), wanted) for latent in latents]
