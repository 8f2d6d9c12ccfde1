"""Amnesiac unlearning (arXiv:2010.10981) by relabelling: one wrong label per forgotten image, and
a few passes over all images."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from unlearn.errors import require
from unlearn.methods.base import Losses, SearchSpace, Unlearned
from unlearn.methods.iterative import Iterative, training_copy
from unlearn.splits import Images, Splits


@dataclass(frozen=True)
class Amnesiac(Iterative):
    """Train on retained images and forgotten ones in one shuffled set, these under wrong labels.

    A label is drawn once per image, uniformly from the retained classes without the image's own. So
    a batch holds as few forgotten images as the data set does, and they enter the norms'
    statistics; `random-labels` draws anew in every step and reads a batch of each kind.

    The paper's other form subtracts the recorded updates of every batch that held a forgotten
    image. With a class, or a tenth of all images, forgotten, that is every batch, and a copy of the
    network per step would have to be stored; tables of this field take the form here, with
    `epochs` = 3, `lr` = 1e-4 and batches of 128, as the code of arXiv:2205.08096 has it.

    batch: images per step, at least 1.
    steps: number of optimiser steps, at least 1; used where `epochs` is 0.
    lr: peak learning rate, above 0.
    schedule: course of the learning rate, `one-cycle`, `cosine` or `constant`.
    epochs: passes over all training images, at least 0; 0 for `steps`.
    """

    reads: ClassVar[str] = "all"
    space: ClassVar[SearchSpace] = {"epochs": [1.5, 6.0], "lr": [1e-5, 1e-3]}

    batch: int = 128
    lr: float = 1e-4
    schedule: str = "constant"
    epochs: float = 3.0

    def unlearn(
        self, model: Any, splits: Splits, generator: torch.Generator, **needs: Any
    ) -> Unlearned:
        student = training_copy(model)
        images = relabelled(splits, generator)
        mixed = self.batches(model, images, generator)

        def losses() -> Losses:
            x, y = next(mixed)
            return {"mixed": F.cross_entropy(self.logits(student, x), y)}

        return self.minimise(student, losses, generator)


def relabelled(splits: Splits, generator: torch.Generator) -> Images:
    """Return all training images, retained first; forgotten ones have a wrong label each."""
    forget, retain = splits.train.forget, splits.train.retain
    labels = wrong_labels(forget.y, retain.y.unique(), generator)
    return Images(torch.cat([retain.x, forget.x]), torch.cat([retain.y, labels]))


def wrong_labels(y: Tensor, kept: Tensor, generator: torch.Generator) -> Tensor:
    """Return a label per image, uniform over the classes `kept` (k,) without its own, (n,).

    Raises `BadInput` where an image has no other class.
    """
    place = torch.searchsorted(kept, y)  # where its own class stands, or would
    own = torch.isin(y, kept)
    choices = len(kept) - own.long()
    require(
        bool((choices > 0).all()),
        "amnesiac needs a class beside each image's own; retain at least two classes",
    )
    drawn = torch.rand(len(y), generator=generator, device=generator.device).to(y.device)
    index = torch.minimum((drawn * choices).long(), choices - 1)
    index += (own & (index >= place)).long()
    labels: Tensor = kept[index]
    return labels
