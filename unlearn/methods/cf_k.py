"""CF-k (arXiv:2201.06640): freeze all but the last k layers, fine-tune those on what is kept."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unlearn.errors import require
from unlearn.methods.base import Unlearned
from unlearn.methods.iterative import Iterative, copy_of
from unlearn.splits import Splits


def weight_layers(model: Any) -> list[list[nn.Module]]:
    """The modules that own parameters, in the order of definition but the head's last, in groups: a layer with a weight
    matrix opens one, norms and scales behind it belong to it."""
    groups: list[list[nn.Module]] = []
    head = list(model.head.modules())
    for layer in [*(layer for layer in model.modules() if layer not in head), *head]:
        own = list(layer.parameters(recurse=False))
        if own and (not groups or max(p.dim() for p in own) > 1):
            groups.append([layer])
        elif own:
            groups[-1].append(layer)
    return groups


def freeze_all_but(model: nn.Module, k: int) -> None:
    """Only the last `k` groups of `model`, in place, keep gradients and training mode; the rest, norms' running
    statistics included, stands still. Raises `BadInput` where the model has fewer groups."""
    groups = weight_layers(model)
    require(
        k <= len(groups),
        f"k is {k}, but the model has {len(groups)} layers; choose k from 1 to {len(groups)}",
    )
    for layer in model.eval().requires_grad_(False).modules():
        if any(layer is moving for group in groups[-k:] for moving in group):
            layer.train().requires_grad_(True)


@dataclass(frozen=True)
class CFk(Iterative):
    """Catastrophic forgetting of the last `k` layers: CE on retained images alone.

    Layers below stay bit for bit, so features of the forgotten class survive in them: a probe or relearning finds
    them again, whatever the accuracy says.
    """

    space: ClassVar[dict[str, list[Any]]] = {"k": [1, 4], "lr": [1e-4, 1e-2]}

    k: int = 2
    steps: int = 500
    lr: float = 3e-3

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.k >= 1, f"k must be at least 1, not {self.k}")

    def __call__(
        self, model: Any, splits: Splits, generator: torch.Generator, **needs: Any
    ) -> Unlearned:
        pupil = copy_of(model)
        freeze_all_but(pupil, self.k)
        retain = self.batches(model, splits.train.retain, generator)

        def terms() -> dict[str, Tensor]:
            x, y = next(retain)
            return {"retain": F.cross_entropy(pupil(x), y)}

        return self.settle(pupil, terms, generator)
