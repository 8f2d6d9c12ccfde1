"""EU-k (arXiv:2201.06640): train the last k layers anew on the retained images, freeze the rest."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import nn

from unlearn.methods.base import Losses, SearchSpace, Unlearned
from unlearn.methods.cf_k import CFk, freeze_all_but, last_groups
from unlearn.methods.iterative import training_copy
from unlearn.models.fresh import fresh
from unlearn.splits import Splits


@dataclass(frozen=True)
class EUk(CFk):
    """Minimise CE(x_r, y_r) over the last `k` layers, drawn anew ("exact unlearning of k layers").

    As CF-k, but these layers start at random weights, so that nothing of the forgotten images is
    left in them. The layers below keep their bits, and with them the features of the forgotten
    class.

    Deviation: the norms among these layers start anew too, weights and running statistics. The
    authors' code draws matrices alone.

    k: number of layers that are trained, counted from the head; at least 1. A layer is a module
        with a weight matrix, together with the norms that follow it.
    steps: number of optimiser steps, at least 1.
    lr: peak learning rate, above 0.
    """

    space: ClassVar[SearchSpace] = {"k": [1, 4], "lr": [3e-4, 1e-2]}
    epoch_space: ClassVar[SearchSpace] = {**space, "epochs": [5.0, 20.0]}

    def unlearn(
        self, model: Any, splits: Splits, generator: torch.Generator, **needs: Any
    ) -> Unlearned:
        student = training_copy(model)
        redraw(student, fresh(model, generator), self.k)
        freeze_all_but(student, self.k)
        retain = self.batches(model, splits.train.retain, generator)

        def losses() -> Losses:
            x, y = next(retain)
            return {"retain": F.cross_entropy(self.logits(student, x), y)}

        return self.minimise(student, losses, generator)


@torch.no_grad()
def redraw(student: nn.Module, other: nn.Module, k: int) -> None:
    """Copy the last `k` layer groups of `other` into `student`, in place.

    What is frozen in the student stays. Both are networks of one architecture.
    """
    names = {layer: name for name, layer in student.named_modules()}
    for group in last_groups(student, k):
        for layer in group:
            source = other.get_submodule(names[layer])
            parameters = dict(source.named_parameters())
            for name, p in layer.named_parameters():
                if p.requires_grad:
                    p.copy_(parameters[name])
            buffers = dict(source.named_buffers())
            for name, buffer in layer.named_buffers():
                buffer.copy_(buffers[name])
