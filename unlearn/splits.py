"""Labelled images in memory, cut into train / val / test x forget / retain."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from unlearn.errors import require
from unlearn.streams import stream

PIECE = {
    "cpu": 100
}  # images read at once, else 1,000: more fall out of a CPU's caches and take half as long again
SPLIT_SEED = 0  # which images are val is part of the data set's definition, not of a sweep


@dataclass(frozen=True)
class Images:
    """Labelled images: `x` uint8 (n, channels, height, width), `y` int64 (n,)."""

    x: Tensor
    y: Tensor

    def __post_init__(self) -> None:
        require(
            len(self.x) == len(self.y),
            f"{len(self.x)} images but {len(self.y)} labels; give one label an image",
        )

    def __len__(self) -> int:
        return len(self.y)

    def take(self, index: Tensor) -> "Images":
        """The images at `index` (integers or a mask), in that order."""
        return Images(self.x[index], self.y[index])

    def to(self, device: torch.device | str) -> "Images":
        return Images(self.x.to(device), self.y.to(device))

    def pixels(self) -> Tensor:
        """All images as float32 in [0, 1], shape (n, channels, height, width)."""
        return self.x.float() / 255

    def pieces(self) -> Iterator["Images"]:
        """All images in order, so many at once as their device reads fastest."""
        size = PIECE.get(self.x.device.type, 1000)
        for x, y in zip(self.x.split(size), self.y.split(size), strict=True):
            yield Images(x, y)

    def batches(self, size: int, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        """Endless shuffled batches of (pixels in [0, 1], labels); each image once an epoch, the last short one cut."""
        require(len(self) > 0, "no images to train on; check the forget set against the data set")
        size = min(size, len(self))
        while True:
            order = torch.randperm(len(self), generator=generator, device=generator.device).to(
                self.y.device
            )
            for start in range(0, len(self) - size + 1, size):
                index = order[start : start + size]
                yield self.x[index].float() / 255, self.y[index]


@dataclass(frozen=True)
class Part:
    """One of train / val / test, divided by the forget set."""

    forget: Images
    retain: Images


@dataclass(frozen=True)
class Splits:
    """train / val / test x forget / retain. `val` is cut from the training images; `val` chooses, `test` reports."""

    train: Part
    val: Part
    test: Part

    def parts(self) -> Iterator[tuple[str, str, Images]]:
        """("train", "forget", images), ("train", "retain", images), ("val", ...), ..."""
        for split in ("train", "val", "test"):
            for part in ("forget", "retain"):
                yield split, part, getattr(getattr(self, split), part)


@dataclass(frozen=True)
class Dataset:
    """A whole data set in memory; `classes` labels 0 .. classes - 1."""

    name: str
    train: Images
    val: Images
    test: Images
    classes: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of one image."""
        channels, height, width = self.train.x.shape[1:]
        return channels, height, width

    def split(self, forget: Sequence[int]) -> Splits:
        """Divide every split by the forget set (a non-empty, proper subset of the classes)."""
        check_forget(forget, self.classes)
        return Splits(*(_divide(images, forget) for images in (self.train, self.val, self.test)))

    def to(self, device: torch.device | str) -> "Dataset":
        return Dataset(
            self.name,
            self.train.to(device),
            self.val.to(device),
            self.test.to(device),
            self.classes,
        )


def check_forget(forget: Sequence[int], classes: int) -> None:
    """Refuse an empty forget set, a class that does not exist, a repeated class, or forgetting everything."""
    require(len(forget) > 0, "empty forget set; name at least one class")
    for label in forget:
        require(
            0 <= label < classes,
            f"forget class {label} does not exist; allowed: 0 to {classes - 1}",
        )
    require(len(set(forget)) == len(forget), f"forget set {list(forget)} names a class twice")
    require(len(forget) < classes, f"forget set {list(forget)} is every class; keep at least one")


def _divide(images: Images, forget: Sequence[int]) -> Part:
    mask = torch.isin(images.y, torch.tensor(list(forget), device=images.y.device))
    return Part(images.take(mask), images.take(~mask))


def cut(images: Images, per_class: int, seed: int = SPLIT_SEED) -> tuple[Images, Images]:
    """Cut `per_class` images of every class out of `images`; return (the cut, the rest)."""
    chosen = torch.zeros(len(images), dtype=torch.bool)
    for label in images.y.unique().tolist():
        index = (images.y == label).nonzero().squeeze(1)
        order = torch.randperm(len(index), generator=stream(seed, "cut", label))
        chosen[index[order[:per_class]]] = True
    return images.take(chosen), images.take(~chosen)
