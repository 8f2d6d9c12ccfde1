"""Every probe: one file each. `probe(subject, context, generator)` attacks a generator and returns an `Outcome`.

The subject and the context stay untouched; all randomness comes from `generator`, on the models' device. A rate means
little alone: ask the original, the oracle and an untrained decoder the same, and count `outcome.above(oracle_outcome)`.
"""

from unlearn.attacks.generators import (
    deceptive_label,
    double_interpolation,
    ink,
    kept_label,
    label_only,
    latent_label,
    noisy_label,
    prototype,
    random_z,
    relearn,
    transplant,
    triangular_walk,
)
from unlearn.attacks.generators.base import Context, Outcome, Probe

__all__ = ["PROBES", "Context", "Outcome", "Probe"]

PROBES: dict[str, Probe] = {
    "random-z": random_z.probe,
    "noisy-label": noisy_label.probe,
    "deceptive-label": deceptive_label.probe,
    "double-interpolation": double_interpolation.probe,
    "triangular-walk": triangular_walk.probe,
    "latent-label": latent_label.probe,
    "label-only": label_only.probe,
    "kept-label": kept_label.probe,
    "prototype": prototype.probe,
    "ink": ink.probe,
    "transplant": transplant.probe,
    **relearn.SHOTS,
    "relearn-kept": relearn.probe,
}
