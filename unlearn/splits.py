"""Labelled images in memory, divided into train / val / test x forget / retain."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from unlearn.errors import require
from unlearn.feeds import Batches
from unlearn.streams import stream

# Images per forward pass when a whole split is read. On a CPU more than 100 fall out of its caches
# and take half as long again.
CPU_PIECE = 100
GPU_PIECE = 1000
SPLIT_SEED = 0  # fixed: which images are val belongs to the data set's definition, not to a sweep


@dataclass(frozen=True)
class Images:
    """Labelled images.

    x: uint8 (n, channels, height, width), pixels in 0 .. 255
    y: int64 (n,), labels
    fine: int64 (n,), finer labels, of which a class may hold several; None where there are none

    Raises `BadInput` unless there are as many labels as images.
    """

    x: Tensor
    y: Tensor
    fine: Tensor | None = None

    def __post_init__(self) -> None:
        for labels in (self.y, self.fine):
            require(
                labels is None or len(self.x) == len(labels),
                f"{len(self.x)} images but {0 if labels is None else len(labels)} labels; "
                "give one label per image",
            )

    def __len__(self) -> int:
        return len(self.y)

    def take(self, index: Tensor) -> "Images":
        """Return the images at `index` (integers or a mask), in that order."""
        fine = None if self.fine is None else self.fine[index]
        return Images(self.x[index], self.y[index], fine)

    def to(self, device: torch.device | str) -> "Images":
        """Return the images on a device."""
        fine = None if self.fine is None else self.fine.to(device)
        return Images(self.x.to(device), self.y.to(device), fine)

    def pixels(self) -> Tensor:
        """Return all images as float32 in [0, 1], shape (n, channels, height, width)."""
        return self.x.float() / 255

    def pieces(self) -> Iterator["Images"]:
        """Yield all images in order, in pieces of the size that their device reads fastest."""
        size = CPU_PIECE if self.x.device.type == "cpu" else GPU_PIECE
        for x, y in zip(self.x.split(size), self.y.split(size), strict=True):
            yield Images(x, y)

    def batches(self, size: int, generator: torch.Generator) -> Batches:
        """Return shuffled batches without end: (pixels in [0, 1] (size, ...), labels (size,)).

        Each epoch shows every image at most once, in a new order; the images that do not fill the
        last batch are left out. `size` is at most the number of images. The first batch raises
        `BadInput` where there are no images.
        """
        return Batches(self.x, self.y, size, generator)


@dataclass(frozen=True)
class Split:
    """One of train / val / test, divided by the forget set.

    forget: images of the classes to forget
    retain: images of the other classes
    """

    forget: Images
    retain: Images


@dataclass(frozen=True)
class Splits:
    """train / val / test x forget / retain.

    train: what models are trained on
    val: cut from the training images; chooses between candidates
    test: reports
    """

    train: Split
    val: Split
    test: Split

    def parts(self) -> Iterator[tuple[str, str, Images]]:
        """Yield ("train", "forget", images), ("train", "retain", images), ("val", ...), ..."""
        for name, split in (("train", self.train), ("val", self.val), ("test", self.test)):
            yield name, "forget", split.forget
            yield name, "retain", split.retain


@dataclass(frozen=True)
class Dataset:
    """A whole data set in memory.

    name: as `unlearn.data.load` takes it
    train: training images without those of val
    val: cut from the training images
    test: test images
    classes: number of classes; labels are 0 .. classes - 1
    """

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
        """Divide train, val and test by a forget set. Raises `BadInput` as `check_forget` does."""
        check_forget(forget, self.classes)
        return Splits(
            train=_divide(self.train, forget),
            val=_divide(self.val, forget),
            test=_divide(self.test, forget),
        )

    def to(self, device: torch.device | str) -> "Dataset":
        """Return the data set on a device."""
        return Dataset(
            self.name,
            self.train.to(device),
            self.val.to(device),
            self.test.to(device),
            self.classes,
        )


def check_forget(forget: Sequence[int], classes: int) -> None:
    """Raise `BadInput` unless `forget` is a non-empty, proper subset of 0 .. classes - 1."""
    require(len(forget) > 0, "empty forget set; name at least one class")
    for label in forget:
        require(
            0 <= label < classes,
            f"forget class {label} does not exist; allowed: 0 to {classes - 1}",
        )
    require(len(set(forget)) == len(forget), f"forget set {list(forget)} names a class twice")
    require(len(forget) < classes, f"forget set {list(forget)} is every class; keep at least one")


def _divide(images: Images, forget: Sequence[int]) -> Split:
    classes = torch.tensor(list(forget), device=images.y.device)
    mask = torch.isin(images.y, classes)
    return Split(forget=images.take(mask), retain=images.take(~mask))


def stratified_split(
    images: Images, per_class: int, seed: int = SPLIT_SEED
) -> tuple[Images, Images]:
    """Choose `per_class` images of every class at random; return (the chosen, the rest).

    Both keep the order of `images`. A class with fewer images is chosen whole.
    """
    chosen = torch.zeros(len(images), dtype=torch.bool)
    for label in images.y.unique().tolist():
        index = (images.y == label).nonzero().squeeze(1)
        order = torch.randperm(len(index), generator=stream(seed, "cut", label))
        chosen[index[order[:per_class]]] = True
    return images.take(chosen), images.take(~chosen)
