"""Selective Amnesia in rounds: the classes of the forget set one after another (seed 001's sequential forgetting)."""

from dataclasses import dataclass, fields
from typing import Any

import torch

from unlearn.data import Dataset, Images, Part, Splits
from unlearn.fisher.generators import generator_fisher
from unlearn.methods.rounds import forget_in_turn
from unlearn.methods.base import Unlearned
from unlearn.methods.selective_amnesia import SelectiveAmnesia


@dataclass(frozen=True)
class SequentialAmnesia(SelectiveAmnesia):
    """One round of `SelectiveAmnesia` a class, in ascending order, each from the weights of the round before.

    recompute: each round takes the Fisher of its own start, of `fisher_of` samples; else the original's serves all.
    again: classes of earlier rounds are forgotten once more in every later round; else they are left alone.
    """

    recompute: bool = True
    again: bool = True
    fisher_of: int = 10_000

    def __call__(
        self, model: Any, splits: Splits, generator: torch.Generator, **needs: Any
    ) -> Unlearned:
        rounds = [[label] for label in sorted(splits.train.forget.y.unique().tolist())]
        once = SelectiveAmnesia(**{f.name: getattr(self, f.name) for f in fields(SelectiveAmnesia)})

        def fisher(start: Any) -> Any:
            return (
                generator_fisher(start, self.fisher_of, generator)
                if self.recompute
                else needs["fisher"]
            )

        whole = _whole(splits, model.classes)
        return forget_in_turn(
            model, whole, rounds, once, generator, fisher, self.recompute, self.again
        )[0]


def _whole(splits: Splits, classes: int) -> Dataset:
    """The data set that was split."""
    return Dataset(
        "", _together(splits.train), _together(splits.val), _together(splits.test), classes
    )


def _together(part: Part) -> Images:
    return Images(
        torch.cat([part.forget.x, part.retain.x]), torch.cat([part.forget.y, part.retain.y])
    )
