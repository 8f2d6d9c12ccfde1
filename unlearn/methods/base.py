"""What every method shares: its shape, and nothing else."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from unlearn.models import Weights
from unlearn.splits import Splits
from unlearn.train import Curve, snapshot


@dataclass(frozen=True)
class Unlearned:
    """What a method returns: new weights, and the curve of its loss terms (empty where nothing is optimised)."""

    weights: Weights
    curve: Curve = field(default_factory=dict)


@dataclass(frozen=True)
class Method:
    """Knobs are the fields; their ranges are checked in `__post_init__`."""

    tasks: ClassVar[tuple[str, ...]] = ("generator", "classifier")
    needs: ClassVar[tuple[str, ...]] = ()  # artifacts, passed by keyword
    closed_form: ClassVar[bool] = (
        False  # weights follow from the artifacts at once: never worth storing
    )
    space: ClassVar[
        dict[str, list[Any]]
    ] = {}  # default search space: knob -> [low, high], or choices as strings

    def __call__(
        self, model: Any, splits: Splits, generator: torch.Generator, **needs: Any
    ) -> Unlearned:
        raise TypeError(f"{type(self).__name__} must define __call__")


@torch.no_grad()
def edited(model: nn.Module, change: Callable[[str, Tensor], Tensor]) -> Weights:
    """The model's weights, every parameter changed by its name; one that stands under several names under all."""
    copied = copy.deepcopy(model)
    for name, p in copied.named_parameters():
        p.copy_(change(name, p))
    return snapshot(copied)
