"""Attacks on an unlearned classifier that cost training: one file each, switched on by name.

`attack(setting, subject, references, seed)` returns exactly the columns that its class declares. (A generator's
attacks are `unlearn.attacks.generators`.)
"""

from collections.abc import Mapping
from typing import Any

from unlearn.attacks.classifiers.base import Attack, References
from unlearn.attacks.classifiers.linear_probe import LinearProbe
from unlearn.attacks.classifiers.lira import Lira
from unlearn.attacks.classifiers.relearning import Relearning
from unlearn.knobs import make

__all__ = ["ATTACKS", "Attack", "References", "attack_columns", "make_attack"]

ATTACKS: dict[str, type[Attack]] = {
    "relearning": Relearning,
    "linear-probe": LinearProbe,
    "lira": Lira,
}


def attack_columns() -> Mapping[str, type]:
    """Every column that an attack can return; `float` (or None where not reached) or `list` (of floats)."""
    found: dict[str, type] = {}
    for kind in ATTACKS.values():
        found |= kind.columns
    return found


def make_attack(name: str, knobs: Mapping[str, Any]) -> Attack:
    """The attack `name` with `knobs`; an unknown knob or one out of range is refused by name."""
    return make("attack on a classifier", ATTACKS, name, knobs)
