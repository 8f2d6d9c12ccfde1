"""The complete description of an artifact, and which settings of a spec go into it."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

from sweeps.spec.sweep import FILES, Knobs
from unlearn.digests import digest
from unlearn.forget_sets import without_place
from unlearn.knobs import counted, later
from unlearn.own_data import content_id
from unlearn.train import Training

SCHEMA = "v1"  # of rows, cells and recipes; part of every id


@dataclass(frozen=True)
class Recipe:
    """The complete description of one artifact; `key` is its hash.

    kind: `original`, `oracle`, `expert`, `fisher` or `judge`
    dataset, model: by name; the model of a judge is the name of its network
    seed: of initial weights, batches and noise
    forget: classes that an oracle never sees, or the only ones that an expert sees
    knobs: (name, value) pairs of its training
    needs: artifacts that are made first
    options: (name, value) pairs for the model's builder
    subset: the forget set, as text, where it is no whole class (`Problem.subset`); else ""
    draw: the seed that drew it
    """

    kind: str
    dataset: str
    model: str
    seed: int
    forget: tuple[int, ...]
    knobs: Knobs
    needs: tuple["Recipe", ...] = ()
    options: Knobs = ()
    subset: str = later("")
    draw: int = later(0)

    @cached_property
    def key(self) -> str:
        content = counted(self)
        content["dataset"] = content_id(self.dataset)
        content["knobs"] = dict(self.knobs)
        content["needs"] = [need.key for need in self.needs]
        content["options"] = without_places(self.options)
        if self.subset:
            content["subset"] = without_place(self.subset)
        return digest({"schema": SCHEMA, **content})

    def knob(self, name: str) -> Any:
        """Return the value of one knob. Raises `KeyError` where this kind of artifact has none."""
        return dict(self.knobs)[name]

    def describe(self) -> str:
        """Name the artifact in a few words, for logs and errors."""
        words = {"oracle": "without", "expert": "of"}
        forget = ""
        if self.kind in words:
            forget = f" {words[self.kind]} {self.subset or list(self.forget)}"
        return f"{self.kind} {self.model}{forget} seed {self.seed}"


def frozen(options: Mapping[str, Any]) -> Knobs:
    """Make options hashable: (name, value) pairs sorted by name, lists as tuples.

    Options from a spec and from a row give the same result.
    """
    pairs = [(str(key), _frozen(value)) for key, value in options.items()]
    return tuple(sorted(pairs))


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


def without_places(options: Knobs) -> dict[str, Any]:
    """Return a builder's options without the paths of its files; their SHA-256 stay."""
    kept = {}
    for key, value in options:
        is_path = key in FILES and isinstance(value, str)
        if not is_path:
            kept[key] = value
    return kept


def architecture(options: Knobs) -> dict[str, Any]:
    """Return the options that shape the network, without those that name its starting weights."""
    return {key: value for key, value in options if key.removesuffix("_sha256") not in FILES}


TRAINING = tuple(f.name for f in fields(Training))
OWN = ("expert_steps", "expert_lr", "expert_schedule", "expert_norms")
OWN_LATER = ("expert_epochs", "expert_accuracy")  # 0 is what experts were before
# An expert has a schedule of its own; label smoothing would teach it labels that it never sees.
NOT_OF_EXPERTS = ("steps", "lr", "schedule", "label_smoothing")
EXPERT = (*OWN, *(name for name in TRAINING if name not in NOT_OF_EXPERTS))
FISHER = ("fisher_samples",)
# What a method needs -> the keys of `train` that say how that artifact is made.
MAKING = {
    "expert": (*OWN, *OWN_LATER),
    "experts": (*OWN, *OWN_LATER, "experts"),
    "fisher": FISHER,
}
