"""CF-k (arXiv:2201.06640): fine-tune the last k layers on the retained images, freeze the rest."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.parametrize import is_parametrized

from unlearn.errors import require
from unlearn.methods.base import Losses, SearchSpace, Unlearned
from unlearn.methods.iterative import Iterative, training_copy
from unlearn.splits import Splits


@dataclass(frozen=True)
class CFk(Iterative):
    """Minimise CE(x_r, y_r) over the last `k` layers ("catastrophic forgetting of k layers").

    The layers below keep their bits, so features of the forgotten class survive in them: a linear
    probe or relearning finds them again, whatever the accuracy says.

    k: number of layers that are trained, counted from the head; at least 1. A layer is a module
        with a weight matrix, together with the norms that follow it.
    steps: number of optimiser steps, at least 1.
    lr: peak learning rate, above 0.
    """

    space: ClassVar[SearchSpace] = {"k": [1, 4], "lr": [1e-4, 1e-2]}
    epoch_space: ClassVar[SearchSpace] = {**space, "epochs": [5.0, 20.0]}

    k: int = 2
    steps: int = 500
    lr: float = 3e-3

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.k >= 1, f"k must be at least 1, not {self.k}")

    def check(self, model: Any) -> None:
        last_groups(model, self.k)

    def unlearn(
        self, model: Any, splits: Splits, generator: torch.Generator, **needs: Any
    ) -> Unlearned:
        student = training_copy(model)
        freeze_all_but(student, self.k)
        retain = self.batches(model, splits.train.retain, generator)

        def losses() -> Losses:
            x, y = next(retain)
            return {"retain": F.cross_entropy(self.logits(student, x), y)}

        return self.minimise(student, losses, generator)


def freeze_all_but(model: nn.Module, k: int) -> None:
    """Leave only the last `k` layer groups of `model` trainable, in place.

    The others lose their gradients and go to eval mode, so that the running statistics of their
    norms stay too. What was frozen before stays frozen. Raises `BadInput` where the model has fewer
    than `k` groups.
    """
    groups = last_groups(model, k)
    trainable = {id(p) for p in model.parameters() if p.requires_grad}
    model.eval()
    model.requires_grad_(False)
    for group in groups:
        for layer in group:
            layer.train()
            for p in layer.parameters():
                p.requires_grad_(id(p) in trainable)


def last_groups(model: nn.Module, k: int) -> list[list[nn.Module]]:
    """Return the last `k` layer groups; raise `BadInput` where there are fewer."""
    groups = layer_groups(model)
    require(
        k <= len(groups),
        f"k is {k}, but the model has {len(groups)} layers; choose k from 1 to {len(groups)}",
    )
    return groups[-k:]


def layer_groups(model: Any) -> list[list[nn.Module]]:
    """Group the modules that own trainable parameters, in the order of their definition, the head
    last.

    A module with a weight matrix opens a group; the norms and scales that follow belong to it.
    """
    groups: list[list[nn.Module]] = []
    head = list(model.head.modules())
    body = [layer for layer in model.modules() if layer not in head]
    computing = _parametrizations(model)
    for layer in [*body, *head]:
        own = [] if layer in computing else _own_parameters(layer)
        if not own:
            continue
        has_matrix = any(p.dim() > 1 for p in own)
        if has_matrix or not groups:
            groups.append([layer])
        else:
            groups[-1].append(layer)
    return groups


def _own_parameters(layer: nn.Module) -> list[nn.Parameter]:
    """Return the trainable parameters of a layer, with those that its weights are computed from."""
    own = list(layer.parameters(recurse=False))
    if is_parametrized(layer):
        own += list(layer.get_submodule("parametrizations").parameters())
    return [p for p in own if p.requires_grad]


def _parametrizations(model: nn.Module) -> set[nn.Module]:
    """Return the modules that compute weights of other layers (`torch.nn.utils.parametrize`)."""
    found: set[nn.Module] = set()
    for layer in model.modules():
        if is_parametrized(layer):
            found |= set(layer.get_submodule("parametrizations").modules())
    return found
