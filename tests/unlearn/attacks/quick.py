"""Knobs that make every attack quick, and problems to attack."""

from collections.abc import Mapping
from typing import Any

from tests.unlearn.world import World
from unlearn.attacks import ATTACKS, Attack, Target, make_attack
from unlearn.evaluation import ClassifierEvaluator, Scores
from unlearn.train import Training

SIZES = {"trials": 60, "restarts": 12}
QUICK: Mapping[str, Mapping[str, Any]] = {
    "relearning": {"steps": 8, "every": 4, "images": 100},
    "relearning-rehearsed": {"steps": 8, "every": 4, "images": 100},
    "lira-matched": {"shadows": 4},
    "rmia": {"shadows": 4},
    "u-lira": {"shadows": 4},
    "prototype-relearning": {"images": 100},
    "membership-elbo": {"images": 60, "draws": 2},
    "linear-probe": {"per_class": 100},
    "lira": {"shadows": 4, "steps": 6},
    "kept-label-strongest": {"rungs": 1},
    "relearn-strongest-1": {"rungs": 1, "trials": 20},
    "relearn-strongest-10": {"rungs": 1, "trials": 20},
    "relearn-strongest-100": {"rungs": 1, "trials": 20},
}


def quick(name: str, **knobs: Any) -> Attack:
    """Make the attack `name` with few steps, trials and restarts, and with `knobs`."""
    sizes = {knob: size for knob, size in SIZES.items() if hasattr(ATTACKS[name], knob)}
    return make_attack(name, {**sizes, **QUICK.get(name, {}), **knobs})


def target_of(evaluator: ClassifierEvaluator, name: str = "quick", seed: int = 0) -> Target:
    """Make the target of an attack on classifiers."""
    training = Training(steps=6, batch=64, lr=3e-3, label_smoothing=0.1, ema=0.9)
    return Target(name, evaluator, evaluator.splits, seed, training=training)


def attacked(
    attack: Attack, world: World, subject: Any, seed: int = 0, name: str = "quick"
) -> Scores:
    """Attack the subject beside the original and the oracle of `world`."""
    models = {"original": world.model, "oracle": world.oracle}
    references = attack.references(target_of(world.evaluator, name, seed), models)
    return attack(subject, references).scores
