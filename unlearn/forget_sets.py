"""Forget sets that are not whole classes: a random share of the training images."""

from dataclasses import dataclass

import torch
from torch import Tensor

from unlearn.errors import BadInput, require
from unlearn.splits import Dataset, Split, Splits
from unlearn.streams import stream

FEWEST = 10  # images that a forget set must hold


@dataclass(frozen=True)
class RandomShare:
    """A share of all training images, drawn at random; every seed draws another set.

    share: above 0, below 1
    """

    share: float

    def __post_init__(self) -> None:
        require(0 < self.share < 1, f"a random share must lie between 0 and 1, not {self.share}")

    def __str__(self) -> str:
        return f"random {self.share}"

    @classmethod
    def parse(cls, text: str) -> "RandomShare":
        """Read what `str` wrote. Raises `BadInput`."""
        kind, _, share = text.partition(" ")
        try:
            require(kind == "random", f"unknown forget set {text!r}; known: random SHARE")
            return cls(float(share))
        except ValueError as error:
            raise BadInput(f"unknown forget set {text!r}; known: random SHARE") from error

    def mask(self, n: int, seed: int) -> Tensor:
        """Tell which of `n` images are to be forgotten, bool (n,), round(share n) of them."""
        count = round(self.share * n)
        require(
            FEWEST <= count < n,
            f"{self} of {n} training images are {count}; forget at least {FEWEST}, and not all",
        )
        order = torch.randperm(n, generator=stream(seed, "random forget set", self.share))
        chosen = torch.zeros(n, dtype=torch.bool)
        chosen[order[:count]] = True
        return chosen


def split_random(dataset: Dataset, share: RandomShare, seed: int) -> Splits:
    """Divide the training images by a random forget set.

    No val or test image is forgotten. Both of their parts hold all of them: as `retain` they tell
    what the model still does, as `forget` they are the unseen images that forgotten training images
    are compared with.
    """
    chosen = share.mask(len(dataset.train), seed).to(dataset.train.y.device)
    train = Split(forget=dataset.train.take(chosen), retain=dataset.train.take(~chosen))
    val, test = dataset.val, dataset.test
    return Splits(train, Split(val, val), Split(test, test))
