"""Selective Amnesia in rounds: forget the classes one after another (seed 001)."""

from collections.abc import Hashable
from dataclasses import dataclass, fields
from typing import Any

import torch

from unlearn.fisher.generators import generator_fisher
from unlearn.methods.base import Unlearned
from unlearn.methods.rounds import forget_in_rounds
from unlearn.methods.selective_amnesia import SelectiveAmnesia
from unlearn.models import Weights
from unlearn.splits import Dataset, Images, Split, Splits


@dataclass(frozen=True)
class SequentialAmnesia(SelectiveAmnesia):
    """One round of `SelectiveAmnesia` per class, in ascending order of the labels.

    Each round starts from the weights of the round before, which are also its frozen original.

    recompute: whether each round estimates the Fisher of its own start; else the original's serves
        all rounds.
    again: whether each round forgets the classes of earlier rounds once more; else they are
        neither forgotten nor replayed.
    fisher_of: number of samples that a recomputed Fisher is estimated from, at least 1.
    """

    recompute: bool = True
    again: bool = True
    fisher_of: int = 10_000

    def stack_key(self) -> Hashable:
        return None  # every round of a member would need a Fisher of its own

    def __call__(
        self, model: Any, splits: Splits, generator: torch.Generator, **needs: Any
    ) -> Unlearned:
        labels = sorted(splits.train.forget.y.unique().tolist())
        rounds = [[label] for label in labels]
        knobs = {knob.name: getattr(self, knob.name) for knob in fields(SelectiveAmnesia)}
        method = SelectiveAmnesia(**knobs)
        dataset = undivided(splits, model.classes)

        def fisher(start: Any) -> Weights:
            if self.recompute:
                return generator_fisher(start, self.fisher_of, generator)
            given: Weights = needs["fisher"]
            return given

        unlearned, _ = forget_in_rounds(
            model,
            dataset,
            rounds,
            method,
            generator,
            fisher,
            self.recompute,
            self.again,
            needs.get("training"),
        )
        return unlearned


def undivided(splits: Splits, classes: int) -> Dataset:
    """Return the data set of `splits`, its forget and retain parts put together."""
    train, val, test = map(_merged, (splits.train, splits.val, splits.test))
    return Dataset("", train, val, test, classes)


def _merged(part: Split) -> Images:
    x = torch.cat([part.forget.x, part.retain.x])
    y = torch.cat([part.forget.y, part.retain.y])
    return Images(x, y)
