"""Attacks on an unlearned classifier that cost training: one file each, switched on by name.

`attack(setting, subject, original, oracle, seed)` returns exactly the columns that its class declares. (A generator's
attacks are `unlearn.probes`.)
"""

from collections.abc import Mapping, Sequence
from typing import Any

from unlearn.attacks.base import Attack
from unlearn.attacks.linear_probe import LinearProbe
from unlearn.attacks.lira import Lira
from unlearn.attacks.relearning import Relearning
from unlearn.errors import known
from unlearn.evaluation import ClassifierSetting, Scores

__all__ = ["ATTACKS", "Attack", "attack_columns", "attacked"]

ATTACKS: dict[str, type[Attack]] = {
    "relearning": Relearning,
    "linear-probe": LinearProbe,
    "lira": Lira,
}


def attacked(
    names: Sequence[str], setting: ClassifierSetting, subject: Any, original: Any, oracle: Any, seed: int
) -> Scores:
    """The columns of the attacks `names`, at their default knobs."""
    scores: Scores = {}
    for name in names:
        scores |= known("attack", name, ATTACKS)()(setting, subject, original, oracle, seed)
    return scores


def attack_columns() -> Mapping[str, type]:
    """Every column that an attack can return; `float` (or None where not reached) or `list` (of floats)."""
    found: dict[str, type] = {}
    for kind in ATTACKS.values():
        found |= kind.columns
    return found
