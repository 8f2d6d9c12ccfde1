"""Forget sets that are not whole classes: a random share of the training images, chosen ones, or
fine labels within classes.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from unlearn.errors import BadInput, require
from unlearn.splits import Dataset, Images, Split, Splits, check_forget
from unlearn.streams import stream

FEWEST = 10  # images that a random forget set must hold


class Subset(Protocol):
    """A forget set that is no whole class; `str` gives the text that `parse_subset` reads."""

    def check(self, fine: int) -> None:
        """Raise `BadInput` where a data set with so many fine labels cannot be divided by it."""

    def divide(self, dataset: Dataset, seed: int) -> Splits:
        """Divide train, val and test."""


class OfImages:
    """A forget set of single training images."""

    def check(self, fine: int) -> None:
        """Any data set can be divided by images."""

    def mask(self, n: int, seed: int) -> Tensor:
        """Tell which of `n` training images are to be forgotten, bool (n,)."""
        raise TypeError(f"{type(self).__name__} must define mask")

    def divide(self, dataset: Dataset, seed: int) -> Splits:
        """Divide the training images. No val or test image is forgotten.

        Both of their parts hold all of them: as `retain` they tell what the model still does, as
        `forget` they are the unseen images that forgotten training images are compared with.
        """
        chosen = self.mask(len(dataset.train), seed).to(dataset.train.y.device)
        train = Split(forget=dataset.train.take(chosen), retain=dataset.train.take(~chosen))
        val, test = dataset.val, dataset.test
        return Splits(train, Split(val, val), Split(test, test))


@dataclass(frozen=True)
class RandomShare(OfImages):
    """A share of all training images, drawn at random; every seed draws another set.

    share: above 0, below 1
    """

    share: float

    def __post_init__(self) -> None:
        require(0 < self.share < 1, f"a random share must lie between 0 and 1, not {self.share}")

    def __str__(self) -> str:
        return f"random {self.share}"

    def mask(self, n: int, seed: int) -> Tensor:
        """Mark round(share n) images, drawn from `seed`."""
        count = round(self.share * n)
        require(
            FEWEST <= count < n,
            f"{self} of {n} training images are {count}; forget at least {FEWEST}, and not all",
        )
        order = torch.randperm(n, generator=stream(seed, "random forget set", self.share))
        chosen = torch.zeros(n, dtype=torch.bool)
        chosen[order[:count]] = True
        return chosen


@dataclass(frozen=True)
class ChosenIndices(OfImages):
    """The training images that a file names, the same for every seed.

    sha256: first 16 digits of the file's hash, by which it counts in ids
    path: a `.npy` file of whole numbers (k,): places in the training images without those of val
    """

    sha256: str
    path: str

    def __str__(self) -> str:
        return f"indices {self.sha256} {self.path}"

    @classmethod
    def of_file(cls, path: str) -> "ChosenIndices":
        """Name a file's indices. Raises `BadInput` where it is missing or holds something else."""
        require(Path(path).is_file(), f"forget.indices: file {path} does not exist")
        chosen = cls(hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16], path)
        chosen.indices()
        return chosen

    def indices(self) -> np.ndarray:
        """Read the file. Raises `BadInput` where it changed, or holds no distinct whole numbers."""
        content = Path(self.path).read_bytes()
        require(
            hashlib.sha256(content).hexdigest().startswith(self.sha256),
            f"file {self.path} has changed since the sweep was planned; plan it again",
        )
        try:
            read = np.load(self.path, allow_pickle=False)
        except ValueError as error:
            raise BadInput(f"file {self.path} is no .npy file of whole numbers") from error
        fits = read.ndim == 1 and read.dtype.kind in "iu" and len(read) > 0
        require(
            fits and len(np.unique(read)) == len(read),
            f"file {self.path} must hold distinct whole numbers, (k,), not {read.dtype} "
            f"{read.shape}",
        )
        return np.asarray(read)

    def mask(self, n: int, seed: int) -> Tensor:
        """Mark the images that the file names, whatever the seed."""
        indices = self.indices()
        require(
            int(indices.min()) >= 0 and int(indices.max()) < n and len(indices) < n,
            f"file {self.path} must name some of 0 to {n - 1}, the training images, and not all",
        )
        chosen = torch.zeros(n, dtype=torch.bool)
        chosen[torch.from_numpy(indices.astype(np.int64))] = True
        return chosen


@dataclass(frozen=True)
class Subclasses:
    """Parts of classes, by fine labels: `beaver` out of `aquatic mammals`. Every seed forgets them.

    Unlike single images they are taken out of val and test too, as whole classes are. The oracle
    still answers them with their class, as far as the rest of the class teaches it.

    labels: fine labels, sorted
    """

    labels: tuple[int, ...]

    def __str__(self) -> str:
        return f"subclass {','.join(map(str, self.labels))}"

    def check(self, fine: int) -> None:
        """Raise `BadInput` unless these are some of the fine labels, and not all."""
        require(fine > 0, f"{self}: the data set has no fine labels; forget classes")
        check_forget(self.labels, fine)

    def divide(self, dataset: Dataset, seed: int) -> Splits:
        """Divide train, val and test by their fine labels."""
        return Splits(*(self._split(part) for part in (dataset.train, dataset.val, dataset.test)))

    def _split(self, images: Images) -> Split:
        if images.fine is None:
            raise BadInput(f"{self}: the data set has no fine labels; forget classes")
        wanted = torch.tensor(self.labels, device=images.fine.device)
        chosen = torch.isin(images.fine, wanted)
        return Split(images.take(chosen), images.take(~chosen))


def _random(text: str) -> Subset:
    return RandomShare(float(text))


def _indices(text: str) -> Subset:
    sha256, _, path = text.partition(" ")
    return ChosenIndices(sha256, path)


def _subclasses(text: str) -> Subset:
    return Subclasses(tuple(int(label) for label in text.split(",")))


KINDS: dict[str, Callable[[str], Subset]] = {
    "random": _random,
    "indices": _indices,
    "subclass": _subclasses,
}


def parse_subset(text: str) -> Subset:
    """Read what `str` of a subset wrote. Raises `BadInput`."""
    kind, _, rest = text.partition(" ")
    try:
        return KINDS[kind](rest)
    except (KeyError, ValueError) as error:
        raise BadInput(f"unknown forget set {text!r}; known: {', '.join(KINDS)}") from error


def without_place(text: str) -> str:
    """Leave out where a file lies from a subset's text, and keep the rest: so it counts in ids."""
    kind, _, rest = text.partition(" ")
    return f"{kind} {rest.partition(' ')[0]}" if kind == "indices" else text


def split_subset(dataset: Dataset, subset: Subset, seed: int) -> Splits:
    """Divide a data set by a forget set that is no whole class."""
    return subset.divide(dataset, seed)
