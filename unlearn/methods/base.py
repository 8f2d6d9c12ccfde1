"""The contract of every method: its class, its result, and two helpers that several methods use."""

import copy
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from unlearn.errors import BadInput, NotFinite, lookup
from unlearn.models import Weights
from unlearn.objectives import PLAIN, ElboOptions
from unlearn.splits import Splits
from unlearn.train import Curve, Training, snapshot

Losses = dict[str, Tensor]  # scalars by the name of their loss term
StepFunction = Callable[[], Losses]  # what `unlearn.train.descend` calls in every step
SearchSpace = dict[str, list[Any]]
OBJECTIVES = {
    "plain": "the loss of the model's task, without options",
    "original": "with the options that the original was trained with",
}


@dataclass(frozen=True)
class Unlearned:
    """The result of a method.

    weights: the state dict of the unlearned model.
    curve: the loss terms by step (see `unlearn.train.Curve`); empty where nothing is optimised.
    """

    weights: Weights
    curve: Curve = field(default_factory=dict)


@dataclass(frozen=True)
class Method:
    """Base class of every method: its fields are knobs, `__post_init__` checks their ranges.

    Class attributes:

    tasks: the kinds of model that the method takes, `generator` or `classifier` or both.
    needs: names of the artifacts that the method takes as keyword arguments.
    closed_form: whether the weights follow from the artifacts without training; such weights
        are computed again instead of being stored.
    space: the default search space, by knob: [low, high] of a number, or the choices as strings.
    epoch_space: the same with budgets in epochs, for `search: {units: epochs}`; empty where the
        method has no budget, which leaves `space`.
    """

    tasks: ClassVar[tuple[str, ...]] = ("generator", "classifier")
    needs: ClassVar[tuple[str, ...]] = ()
    closed_form: ClassVar[bool] = False
    space: ClassVar[SearchSpace] = {}
    epoch_space: ClassVar[SearchSpace] = {}

    def check(self, model: Any) -> None:
        """Raise `BadInput` where the method cannot run on a network like `model`.

        It is called before anything is trained, so that a plan is refused and not a cell. Most
        methods run on any network.
        """

    def __call__(
        self, model: Any, splits: Splits, generator: torch.Generator, **needs: Any
    ) -> Unlearned:
        """Unlearn the forget part of `splits`.

        `model` (the original, in eval mode) and everything in `needs` stay as they are. A
        method with a knob `objective` also gets `training`, how the original was trained. All
        randomness comes from `generator`; device and dtype come from `model`. Raises `NotFinite`
        where a loss or a weight becomes infinite or NaN.
        """
        raise TypeError(f"{type(self).__name__} must define __call__")

    def stack_key(self) -> Hashable:
        """Return what runs of this class must have in common for `together` to carry them out.

        None where this one must run by itself.
        """
        return None

    @classmethod
    def together(cls, runs: Sequence["Run"]) -> list[Unlearned | NotFinite]:
        """Carry out several runs as one program; each gives what it gives alone, up to rounding.

        runs: of methods of this class with equal `stack_key`s, on networks of one architecture. A
            run whose loss or weights are not finite gives its `NotFinite`; the others stand.
        """
        raise TypeError(f"{cls.__name__} runs one by one")


@dataclass(frozen=True)
class Run:
    """A method and the arguments of its call: see `Method.__call__`."""

    method: Method
    model: Any
    splits: Splits
    generator: torch.Generator
    needs: Mapping[str, Any]


def unlearned_of(made: tuple[Weights, Curve] | NotFinite) -> Unlearned | NotFinite:
    """Return what `unlearn.stack` gave for one member as the result of its run."""
    return made if isinstance(made, NotFinite) else Unlearned(*made)


def training_of(objective: str, needs: Mapping[str, Any]) -> Training | None:
    """Return how the original was trained where `objective` is `original`; None for `plain`.

    Raises `BadInput` for another name, or where `needs` does not tell.
    """
    lookup("objective", objective, OBJECTIVES)
    if objective == "plain":
        return None
    known = needs.get("training")
    if not isinstance(known, Training):
        raise BadInput("objective original needs `training`: pass how the original was trained")
    return known


def elbo_options(objective: str, needs: Mapping[str, Any]) -> ElboOptions:
    """Return the options of `negative_elbo` that the objective stands for.

    The critic of the original's training is not stored, so it is not among them.
    """
    training = training_of(objective, needs)
    if training is None:
        return PLAIN
    return ElboOptions(training.kl_weight, training.z_dropout)


@torch.no_grad()
def map_parameters(model: nn.Module, change: Callable[[str, Tensor], Tensor]) -> Weights:
    """Return the weights of `model` with every parameter p replaced by `change(name, p)`.

    Buffers stay. A parameter that has several names is changed once, under all of them.
    """
    changed = copy.deepcopy(model)
    for name, p in changed.named_parameters():
        p.copy_(change(name, p))
    return snapshot(changed)


def join_curves(curves: Sequence[Curve]) -> Curve:
    """Join curves end to end: steps are counted on, the values of a term are appended."""
    joined: Curve = {}
    for curve in curves:
        offset = joined["step"][-1] if "step" in joined else 0.0
        for name, values in curve.items():
            if name == "step":
                values = [step + offset for step in values]
            joined[name] = joined.get(name, []) + values
    return joined
