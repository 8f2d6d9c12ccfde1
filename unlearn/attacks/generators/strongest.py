"""Run an attack in several variants and report the strongest: one setting proves little."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, replace
from typing import Any, TypeVar

import torch

from unlearn.attacks.base import check_at_least
from unlearn.attacks.generators.base import GeneratorAttack, Recovery
from unlearn.errors import require

Attacker = TypeVar("Attacker", bound=GeneratorAttack)
Variant = Mapping[str, float]  # what sets the variant apart, by the name of its column


def check_ladder(attack: Any) -> None:
    """Refuse a ladder of no rung, or whose highest rate lies below the lowest."""
    check_at_least(1, attack, "rungs")
    require(
        attack.highest_lr >= attack.lr,
        f"highest_lr must be at least lr = {attack.lr}, not {attack.highest_lr}",
    )


def plain_of(attack: Attacker, kind: type[Attacker]) -> Attacker:
    """Return the attack as its base class `kind`, at the same knobs."""
    knobs = {knob.name: getattr(attack, knob.name) for knob in fields(kind)}
    return kind(**knobs)


def ladder(low: float, high: float, rungs: int) -> list[float]:
    """Return `rungs` rates from `low` to `high`, both included, at equal ratios."""
    if rungs == 1:
        return [low]
    ratio = (high / low) ** (1 / (rungs - 1))
    return [low * ratio**i for i in range(rungs - 1)] + [high]


def variants_of(attack: Any, switch: str, settings: Iterable[bool]) -> list[Variant]:
    """Return a variant per setting of `switch` and rate of the attack's ladder."""
    rates = ladder(attack.lr, attack.highest_lr, attack.rungs)
    return [{"lr": lr, switch: float(setting)} for setting in settings for lr in rates]


def each_alone(
    variants: Iterable[Variant],
    recover: Callable[[Variant], Recovery],
    generator: torch.Generator,
) -> list[Recovery]:
    """Run the variants one after another; every one draws the same numbers from `generator`."""
    start = generator.get_state()
    found = []
    for variant in variants:
        generator.set_state(start)
        found.append(recover(variant))
    return found


def strongest(variants: Iterable[Variant], found: Iterable[Recovery]) -> Recovery:
    """Return the recovery with the most hits; where several have as many, the fastest, the first.

    The grader chooses among the variants, so the rate is an upper bound: it is chosen as high for
    every reference model.
    """

    def strength(recovery: Recovery) -> tuple[int, float]:
        steps = float("inf") if recovery.steps is None else recovery.steps
        return recovery.hits, -steps

    named = [
        replace(recovery, variant=dict(variant))
        for variant, recovery in zip(variants, found, strict=True)
    ]
    return max(named, key=strength)
