"""Attacks on unlearned models: do they still hold what they should have forgotten?

Each attack is a file and a frozen dataclass of knobs; `ATTACKS` registers it under a name. Attacks
on generators try to bring forgotten classes back out of a decoder. Attacks on classifiers read
what the weights still hold; most of them cost training. `Attack` describes the protocol.
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from unlearn.attacks.base import Attack, Findings, References, Target, Unlearn
from unlearn.attacks.classifiers.linear_probe import LinearProbe
from unlearn.attacks.classifiers.lira import Lira
from unlearn.attacks.classifiers.prototype_relearning import PrototypeRelearning
from unlearn.attacks.classifiers.relearning import Relearning
from unlearn.attacks.classifiers.rmia import Rmia
from unlearn.attacks.classifiers.u_lira import ULira
from unlearn.attacks.generators.deceptive_label import DeceptiveLabel
from unlearn.attacks.generators.double_interpolation import DoubleInterpolation
from unlearn.attacks.generators.ink import Ink
from unlearn.attacks.generators.kept_label import KeptLabel, StrongestKeptLabel
from unlearn.attacks.generators.label_only import LabelOnly
from unlearn.attacks.generators.latent_label import LatentLabel
from unlearn.attacks.generators.membership_elbo import MembershipElbo
from unlearn.attacks.generators.noisy_label import NoisyLabel
from unlearn.attacks.generators.prototype import Prototype
from unlearn.attacks.generators.random_z import RandomZ
from unlearn.attacks.generators.relearn import Relearn
from unlearn.attacks.generators.strongest_relearn import StrongestRelearn
from unlearn.attacks.generators.transplant import Transplant
from unlearn.attacks.generators.triangular_walk import TriangularWalk
from unlearn.columns import Column, merged
from unlearn.errors import lookup
from unlearn.knobs import make

__all__ = [
    "ATTACKS",
    "Attack",
    "Findings",
    "References",
    "Target",
    "Unlearn",
    "attack_columns",
    "attack_entries",
    "attacks_on",
    "make_attack",
]

ATTACKS: dict[str, Attack] = {
    # on classifiers
    "relearning": Relearning(),
    "linear-probe": LinearProbe(),
    "lira": Lira(),
    "relearning-rehearsed": Relearning(reset_head=True, rehearse=True),
    "lira-matched": Lira(follow=True),
    "rmia": Rmia(),
    "u-lira": ULira(),
    "prototype-relearning": PrototypeRelearning(),
    # on generators
    "random-z": RandomZ(),
    "noisy-label": NoisyLabel(),
    "deceptive-label": DeceptiveLabel(),
    "double-interpolation": DoubleInterpolation(),
    "triangular-walk": TriangularWalk(),
    "latent-label": LatentLabel(),
    "label-only": LabelOnly(),
    "kept-label": KeptLabel(),
    "prototype": Prototype(),
    "ink": Ink(),
    "transplant": Transplant(),
    "relearn-1": Relearn(per_class=1),
    "relearn-10": Relearn(per_class=10),
    "relearn-100": Relearn(per_class=100),
    "relearn-kept": Relearn(per_class=0),
    "membership-elbo": MembershipElbo(),
    "kept-label-strongest": StrongestKeptLabel(),
    "relearn-strongest-1": StrongestRelearn(per_class=1),
    "relearn-strongest-10": StrongestRelearn(per_class=10),
    "relearn-strongest-100": StrongestRelearn(per_class=100),
}


def attacks_on(task: str) -> dict[str, Attack]:
    """Select the attacks on `generator`s or on `classifier`s, by name."""
    return {name: attack for name, attack in ATTACKS.items() if attack.task == task}


def attack_entries() -> dict[str, Column]:
    """Return the entry of every column that an attack can return."""
    found: list[Column] = []
    for name, attack in ATTACKS.items():
        found += attack.entries(name)
    return merged(*found)


def attack_columns() -> dict[str, type]:
    """List every column that an attack can return, with its type: `float` or `list` (of floats)."""
    return {name: entry.type for name, entry in attack_entries().items()}


def make_attack(name: str, knobs: Mapping[str, Any]) -> Attack:
    """Make the attack `name` with `knobs` in place of its registered ones.

    Raises `BadInput` for an unknown name, an unknown knob, or a knob of a wrong type or range.
    """
    registered = lookup("attack", name, ATTACKS)
    kinds = {name: type(registered)}
    return make("attack", kinds, name, asdict(registered) | dict(knobs))
