"""The weights through which a generator takes its label: find them, reset the forgotten ones."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from unlearn.models.base import Generative


@dataclass(frozen=True)
class LabelColumns:
    """The columns of one layer's weight that take the label.

    layer: a linear layer or a convolution, whose weight is (outputs, inputs, ...)
    columns: the input that holds each label, (classes,)
    """

    layer: nn.Module
    columns: Tensor


@torch.no_grad()
def label_columns(model: Generative) -> list[LabelColumns]:
    """Find the layers that take the label as inputs of their own, one per class.

    Passes every one-hot label through encoder and decoder. An input belongs to a label where it is
    1 for that label and 0 for all others. Returns [] for a network that takes labels otherwise.
    """
    like = next(model.parameters())
    labels = torch.eye(model.classes, device=like.device, dtype=like.dtype)
    seen: list[tuple[nn.Module, Tensor]] = []

    def record(layer: nn.Module, inputs: tuple[Any, ...]) -> None:
        seen.append((layer, inputs[0]))

    layers = [m for m in model.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    hooks = [layer.register_forward_pre_hook(record) for layer in layers]
    model.encode(like.new_zeros(model.classes, *model.shape), labels)
    model.decode(like.new_zeros(model.classes, model.z_dim), labels)
    for hook in hooks:
        hook.remove()
    return list(_matching(seen, labels))


def _matching(seen: list[tuple[nn.Module, Tensor]], labels: Tensor) -> Iterator[LabelColumns]:
    """Yield the layers among whose inputs (classes, inputs, ...) every one-hot label stands."""
    for layer, inputs in seen:
        first = inputs.flatten(2)[:, :, 0] if inputs.dim() > 2 else inputs
        equal = (first.T[:, None] == labels).all(2)  # (inputs, classes)
        if equal.any(0).all():
            yield LabelColumns(layer, equal.int().argmax(0))


@torch.no_grad()
def reset_label(model: Generative, forget: Sequence[int]) -> None:
    """Set the columns of the forgotten labels to the mean of the kept ones, in place.

    A network that hides a class behind its label alone draws kept classes there afterwards, and
    relearning starts from them. Does nothing where `label_columns` finds no layer.
    """
    kept = [label for label in range(model.classes) if label not in forget]
    for found in label_columns(model):
        weight: Any = found.layer.weight
        mean = weight[:, found.columns[kept]].mean(1, keepdim=True)
        weight[:, found.columns[list(forget)]] = mean
