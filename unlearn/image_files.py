"""Read the files of MNIST-like data sets (IDX), CIFAR (its binary version) and SVHN (.mat).

Every error names the file, what is wrong with it, and what to do.
"""

import gzip
import math
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from unlearn.errors import BadInput, require
from unlearn.splits import Images

CIFAR10_FILE_IMAGES = 10_000
CIFAR_PLANES_BYTES = 3 * 32 * 32  # three colour planes
GZIP = b"\x1f\x8b"
BYTES = 8  # IDX: the code of unsigned bytes, the only type of value that MNIST-like sets have
AGAIN = "fetch it again, or move the folder away to have the data set downloaded"


def read_mnist_files(images: Path, labels: Path, size: tuple[int, int], classes: int) -> Images:
    """Read a pair of IDX files, plain or as `.gz`, of images of one channel and of their labels.

    size: (height, width) that the images must have
    classes: labels must lie in 0 .. classes - 1
    """
    x = read_idx(images, 3)
    y = read_idx(labels, 1)
    found = tuple(x.shape[1:])
    require(
        found == size,
        f"{images} holds images of {found[0]} x {found[1]}, not {size[0]} x {size[1]}; {AGAIN}",
    )
    require(
        len(x) == len(y),
        f"{labels} holds {len(y):,} labels, but {images.name} {len(x):,} images; {AGAIN}",
    )
    _check_labels(labels, y, classes)
    return Images(x.unsqueeze(1), y.long())


def read_idx(path: Path, axes: int) -> Tensor:
    """Read an IDX file of bytes, or `path` with `.gz` where only that is there: uint8 tensor.

    The file begins with 0, 0, 8 (for bytes) and the number of axes, then gives the length of each
    axis in four bytes, the highest first; the values follow.

    axes: how many the file must have
    """
    content = _content(path)
    begin = bytes([0, 0, BYTES, axes])
    head = len(begin) + 4 * axes
    require(
        content.startswith(begin) and len(content) >= head,
        f"{path} is no IDX file of {axes} axes: it begins with {content[:4].hex(' ')}, "
        f"not {begin.hex(' ')}; {AGAIN}",
    )
    lengths = np.frombuffer(content, ">u4", axes, len(begin)).tolist()
    _check_size(path, len(content), head + math.prod(lengths))
    values = np.frombuffer(content, np.uint8, offset=head)
    return torch.from_numpy(values.reshape(lengths).copy())


def read_cifar_file(path: Path) -> Images:
    """Read one file of CIFAR-10's binary version: 10,000 images of 32 x 32 in three colours.

    One image is a label byte, then 3 x 1,024 bytes: the red, green and blue plane.
    """
    labels, x = _cifar_rows(path, CIFAR10_FILE_IMAGES, 1)
    _check_labels(path, labels[:, 0], classes=10)
    return Images(x, labels[:, 0].long())


def read_cifar100_file(path: Path, images: int) -> Images:
    """Read one file of CIFAR-100's binary version, with its 20 coarse labels as `y`.

    One image is a byte of its coarse label, one of its fine label (0 to 99), then the planes.

    images: how many the file must hold
    """
    labels, x = _cifar_rows(path, images, 2)
    coarse, fine = labels[:, 0], labels[:, 1]
    _check_labels(path, coarse, classes=20)
    _check_labels(path, fine, classes=100)
    return Images(x, coarse.long(), fine.long())


def _cifar_rows(path: Path, images: int, label_bytes: int) -> tuple[Tensor, Tensor]:
    """Return labels, uint8 (images, label_bytes), and pixels, uint8 (images, 3, 32, 32)."""
    content = _content(path)
    row = label_bytes + CIFAR_PLANES_BYTES
    _check_size(path, len(content), images * row)
    flat = np.frombuffer(content, np.uint8)
    rows = torch.from_numpy(flat.reshape(-1, row).copy())
    return rows[:, :label_bytes], rows[:, label_bytes:].reshape(-1, 3, 32, 32)


def read_svhn_file(path: Path) -> Images:
    """Read one file of SVHN's cropped digits, a `.mat` of version 5, in which 10 is the digit 0.

    It holds `X`, bytes (32, 32, 3, n), and `y`, labels 1 to 10, (n, 1).
    """
    from scipy.io import loadmat

    _content(path)
    try:
        found = loadmat(path)
        pixels, labels = found["X"], found["y"].reshape(-1)
    except (ValueError, KeyError, TypeError, OSError, zlib.error, NotImplementedError) as error:
        raise BadInput(f"{path} is no .mat of X and y ({error}); {AGAIN}") from error
    require(
        pixels.dtype == np.uint8 and pixels.shape == (32, 32, 3, len(labels)),
        f"{path} holds X as {pixels.dtype} {pixels.shape}, not bytes (32, 32, 3, {len(labels)}); "
        f"{AGAIN}",
    )
    y = torch.from_numpy(labels.astype(np.int64))
    _check_labels(path, torch.where(y >= 1, y - 1, 10), classes=10)
    x = torch.from_numpy(pixels.transpose(3, 2, 0, 1).copy())
    return Images(x, y % 10)


def lies_there(path: Path) -> bool:
    """Whether the file exists, plain or as `.gz`."""
    return path.is_file() or _zipped(path).is_file()


def _zipped(path: Path) -> Path:
    return path.with_name(f"{path.name}.gz")


def _content(path: Path) -> bytes:
    """Return the file's bytes, unzipped. Raises `BadInput` where it is missing, empty, damaged."""
    require(lies_there(path), f"{path} is missing; {AGAIN}")
    file = path if path.is_file() else _zipped(path)
    try:
        content = file.read_bytes()
        if content.startswith(GZIP):
            content = gzip.decompress(content)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise BadInput(f"{file} is damaged ({error}); {AGAIN}") from error
    except OSError as error:
        raise BadInput(f"cannot read {file}: {error.strerror}; check its permissions") from error
    require(len(content) > 0, f"{file} is empty; {AGAIN}")
    return content


def _check_size(path: Path, found: int, expected: int) -> None:
    what = "truncated" if found < expected else "too long"
    require(
        found == expected, f"{path} is {what}: it has {found:,} bytes, not {expected:,}; {AGAIN}"
    )


def _check_labels(path: Path, labels: Tensor, classes: int) -> None:
    outside = (labels >= classes).nonzero().flatten().tolist()
    for place in outside[:1]:
        found = f"{path}: image {place:,} has label {labels[place]}"
        raise BadInput(f"{found}, but labels are 0 to {classes - 1}; {AGAIN}")
