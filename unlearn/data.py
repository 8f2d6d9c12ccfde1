"""Load a data set by name, as tensors.

A name is one of `DATASETS`, or a data set of one's own (`unlearn.own_data`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import torch

from unlearn.errors import require
from unlearn.official_data import (
    cifar10,
    cifar10_5k,
    cifar20,
    cifar100,
    coarse,
    mnist5k,
    mnist_like,
    svhn,
    tiny_imagenet,
)
from unlearn.own_data import (
    Parts,
    fingerprint,
    is_own,
    pin_of,
    read_own,
    val_per_class,
    without_pin,
)
from unlearn.splits import Dataset, Images, stratified_split


@dataclass(frozen=True)
class DatasetSource:
    """A data set before it is read.

    shape: (channels, height, width) of one image
    classes: number of classes
    val_per_class: how many training images per class become val
    read: reads (training images, test images) from the folder of data sets
    fine: number of fine labels; 0 where the images have none
    """

    shape: tuple[int, int, int]
    classes: int
    val_per_class: int
    read: Callable[[Path], tuple[Images, Images]]
    fine: int = 0


DATASETS = {
    "mnist5k": DatasetSource((1, 28, 28), 10, 50, mnist5k),
    "mnist": DatasetSource((1, 28, 28), 10, 500, partial(mnist_like, "MNIST")),
    "fashion-mnist": DatasetSource((1, 28, 28), 10, 500, partial(mnist_like, "FashionMNIST")),
    "cifar10": DatasetSource((3, 32, 32), 10, 500, cifar10),
    "cifar10-5k": DatasetSource((3, 32, 32), 10, 50, cifar10_5k),
    "cifar10-coarse": DatasetSource((3, 32, 32), 2, 2500, partial(coarse, cifar10), 10),
    "cifar10-5k-coarse": DatasetSource((3, 32, 32), 2, 250, partial(coarse, cifar10_5k), 10),
    "cifar100": DatasetSource((3, 32, 32), 100, 50, cifar100),
    "cifar20": DatasetSource((3, 32, 32), 20, 250, cifar20, 100),
    "svhn": DatasetSource((3, 32, 32), 10, 400, svhn),
    "tiny-imagenet": DatasetSource((3, 64, 64), 200, 50, tiny_imagenet),
}
OWN_FORMS = "a folder (./images), an .npz file, package.module:loader"


def source_of(name: str) -> DatasetSource:
    """Describe a data set by its name. One of one's own is read for it, once per process.

    Raises `BadInput` for an unknown name, and for a data set of one's own that cannot be read, or
    whose content is not that of the hash in its name.
    """
    if name in DATASETS or not is_own(name):
        known = f"{', '.join(DATASETS)}; or one of your own: {OWN_FORMS}"
        require(name in DATASETS, f"unknown data set {name!r}; known: {known}")
        return DATASETS[name]
    return _own_source(name)[0]


def pinned(name: str) -> str:
    """Return the name with a hash of the content, for a data set of one's own; else as it is."""
    if name in DATASETS or not is_own(name):
        return name
    return f"{without_pin(name)}#{_own_source(name)[1]}"


@lru_cache(16)
def _own_source(name: str) -> tuple[DatasetSource, str]:
    """Read a data set of one's own; return its description and the hash of its content."""
    parts = _read_pinned(name)
    train, test = parts
    both = [images.fine for images in parts if images.fine is not None]
    source = DatasetSource(
        Dataset("", train, train, test, 0).shape,
        int(max(train.y.max(), test.y.max())) + 1,
        val_per_class(train),
        lambda root: _read_pinned(name),
        max((int(fine.max()) + 1 for fine in both), default=0),
    )
    require(source.classes > 1, f"data set {without_pin(name)} has one class; give two or more")
    _check_all(without_pin(name), parts, source)
    return source, fingerprint(parts)


def _read_pinned(name: str) -> Parts:
    """Read a data set of one's own. Raises `BadInput` where it is not that of its name's hash."""
    parts = read_own(name)
    pin = pin_of(name)
    require(
        pin in ("", fingerprint(parts)),
        f"data set {without_pin(name)} has changed since the sweep was planned; plan it again",
    )
    return parts


def load(name: str, root: Path) -> Dataset:
    """Read a data set from the folder `root` and cut val from its training images.

    `mnist5k` needs no files, one of one's own none in `root`. Raises `BadInput` for an unknown
    name, for a missing data set with the way to get it, and for one that is not as its source says.
    """
    source = source_of(name)
    all_train, test = source.read(root)
    _check_all(name, (all_train, test), source)
    val, train = stratified_split(all_train, source.val_per_class)
    return Dataset(name, train, val, test, source.classes)


def _check_all(name: str, parts: Parts, source: DatasetSource) -> None:
    """Check both parts, and that val leaves training images of every class."""
    train, test = parts
    _check(f"the training images of {name}", train, source)
    _check(f"the test images of {name}", test, source)
    for label, count in enumerate(train.y.bincount().tolist()):
        require(
            count > source.val_per_class,
            f"class {label} of {name} has {count} training images, and val takes "
            f"{source.val_per_class} of them; add images, or lower val_per_class of its source",
        )


def _check(what: str, images: Images, source: DatasetSource) -> None:
    """Refuse images and labels that later steps would misread without an error."""
    x, y = images.x, images.y
    require(
        x.dtype == torch.uint8 and y.dtype == torch.int64,
        f"{what} must be uint8 (0 to 255) with int64 labels, not {x.dtype} and {y.dtype}; "
        "convert them where they are read",
    )
    found = tuple(x.shape[1:])
    require(
        found == source.shape,
        f"{what} have the shape {found}, not {source.shape}; correct the shape of its source",
    )
    for label in y.unique().tolist():
        require(
            0 <= label < source.classes,
            f"{what} have a label {label}; labels are 0 to {source.classes - 1}",
        )
    counts = y.bincount(minlength=source.classes).tolist()
    missing = [label for label, count in enumerate(counts) if count == 0]
    require(not missing, f"{what} hold none of class {missing}; number the classes anew")
