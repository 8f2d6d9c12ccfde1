"""Convolution transpose (fifth of the NeurIPS 2023 unlearning challenge): turn every kernel over,
then fine-tune on the retained images."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unlearn.methods.base import Losses, SearchSpace, Unlearned
from unlearn.methods.iterative import Iterative, training_copy
from unlearn.splits import Splits


@dataclass(frozen=True)
class ConvolutionTranspose(Iterative):
    """Swap height and width of all convolution kernels, then minimise CE(x_r, y_r).

    One of the two best in the comparison of arXiv:2410.01276 (`CT`); the other is
    `masked-small-gradients`. No forgotten image is read. Kernels that are not square, those of one
    pixel, linear layers and what is frozen stay; a network without square kernels is fine-tuned
    and no more.

    steps: number of optimiser steps, at least 1; used where `epochs` is 0.
    lr: peak learning rate, above 0. This, `optimizer`, `schedule`, `weight_decay` and `epochs` are
        those of the comparison's code.
    schedule: course of the learning rate, `one-cycle`, `cosine` or `constant`.
    optimizer: `adamw`, or `sgd` with momentum 0.9.
    weight_decay: of the optimiser, at least 0.
    epochs: passes over the retained images, at least 0; 0 for `steps`.
    """

    space: ClassVar[SearchSpace] = {"epochs": [1.5, 6.0], "lr": [1e-4, 1e-2]}

    lr: float = 1e-3
    schedule: str = "cosine"
    optimizer: str = "sgd"
    weight_decay: float = 5e-4
    epochs: float = 3.0

    def unlearn(
        self, model: Any, splits: Splits, generator: torch.Generator, **needs: Any
    ) -> Unlearned:
        student = training_copy(model)
        transpose_kernels(student)
        retain = self.batches(model, splits.train.retain, generator)

        def losses() -> Losses:
            x, y = next(retain)
            return {"retain": F.cross_entropy(self.logits(student, x), y)}

        return self.minimise(student, losses, generator)


def kernels(model: nn.Module) -> dict[str, Tensor]:
    """Return the trainable kernels (out, in, height, width) of a network, by name."""
    found: dict[str, Tensor] = {}
    for name, p in model.named_parameters():
        if p.requires_grad and p.dim() == 4:
            found[name] = p
    return found


@torch.no_grad()
def transpose_kernels(model: nn.Module) -> None:
    """Swap height and width of every trainable square kernel, in place."""
    for p in kernels(model).values():
        if p.shape[2] == p.shape[3]:
            p.copy_(p.transpose(2, 3).clone())
