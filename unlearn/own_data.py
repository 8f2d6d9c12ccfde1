"""Data sets of one's own: an `.npz` file, a folder of images, or `package.module:loader`.

Nothing of ours is edited for them. All three give (training images, test images); a file or a
loader without test images has a fifth of every class cut off for them.
"""

import hashlib
import re
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from unlearn.errors import BadInput, require, unknown_keys
from unlearn.models.user_code import user_code
from unlearn.models.user_model import find_builder
from unlearn.splits import Images, stratified_split

ARRAYS = ("x", "y", "x_test", "y_test", "fine", "fine_test")
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
MOST_CHANNELS = 4
TEST_PART = 5  # without test images, one in so many of every class
FEWEST = 3  # images of a class that lie in one part
MOST_CLASSES = 10_000
VAL_PART = 10  # and one in so many training images is val
PIN = re.compile(r"(?P<name>.+)#(?P<sha256>[0-9a-f]{16})")
Parts = tuple[Images, Images]


def is_own(name: str) -> bool:
    """Tell whether a name has the form of a data set of one's own."""
    place = without_pin(name)
    return is_loader(name) or "/" in place or place.endswith(".npz")


def is_loader(name: str) -> bool:
    """Tell whether a name has the form `package.module:loader`, which is code to run."""
    place = without_pin(name)
    return ":" in place and "/" not in place and not place.endswith(".npz")


def check_loader(name: str, allowed: Sequence[str], command: str) -> None:
    """Raise `BadInput` for a loader that is not allowed, as `check_builder` does for a builder.

    For names that come with rows; the author of a spec names a loader on purpose.
    """
    place = without_pin(name)
    require(
        not is_loader(name) or place in allowed,
        f"data set {place} is read by code of your own; "
        f"allow it with `amnesia {command} --builder {place}`",
    )


def without_pin(name: str) -> str:
    """Return the name without the hash of the data's content."""
    pinned = PIN.fullmatch(name)
    return pinned["name"] if pinned else name


def pin_of(name: str) -> str:
    """Return the hash of the data's content that a name holds; "" where it holds none."""
    pinned = PIN.fullmatch(name)
    return pinned["sha256"] if pinned else ""


def content_id(name: str) -> str:
    """Return what counts of a data set's name in ids: the hash of its content, where it has one."""
    pin = pin_of(name)
    return f"#{pin}" if pin else name


def fingerprint(parts: Parts) -> str:
    """Hash the images and labels of both parts: 16 hexadecimal digits."""
    sha256 = hashlib.sha256()
    for images in parts:
        for tensor in (images.x, images.y, images.fine):
            if tensor is not None:
                sha256.update(f"{tuple(tensor.shape)}".encode())
                sha256.update(tensor.contiguous().numpy().tobytes())
    return sha256.hexdigest()[:16]


def val_per_class(train: Images) -> int:
    """Return how many training images per class become val: a tenth of the smallest class."""
    smallest = int(train.y.bincount().min())
    return max(1, smallest // VAL_PART)


def read_own(name: str) -> Parts:
    """Read (training images, test images). Raises `BadInput` in one line for what does not fit."""
    place = without_pin(name)
    if is_loader(name):
        train, test = _of_loader(place)
    elif Path(place).is_dir():
        train, test = _of_folder(Path(place))
    else:
        train, test = _of_npz(Path(place))
    require(
        test is None or (train.fine is None) == (test.fine is None),
        f"data set {place} has fine labels for one of training and test images; give both or none",
    )
    if test is not None:
        return train, test
    counts = train.y.bincount()
    smallest = int(counts[counts > 0].min())
    require(
        smallest >= FEWEST,
        f"data set {place} has {smallest} images of class {int(counts.argmin())}, but train, val "
        "and test take one each; add images",
    )
    test, rest = stratified_split(train, max(1, smallest // TEST_PART))
    return rest, test


def _of_npz(path: Path) -> tuple[Images, Images | None]:
    """Read `x`, `y`, and if they are there `x_test`, `y_test`, `fine`, `fine_test`."""
    require(path.is_file(), f"data set {path} is neither a file nor a folder; correct its path")
    try:
        with np.load(path, allow_pickle=False) as file:
            require(isinstance(file, Mapping), f"{path} is no .npz of arrays; write numpy.savez")
            arrays = {key: file[key] for key in file}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise BadInput(f"{path} is no .npz of plain arrays ({error}); write numpy.savez") from error
    unknown_keys(str(path), arrays, ARRAYS)
    for key in ("x", "y"):
        require(key in arrays, f"{path} has no array {key!r}; give x (images) and y (labels)")
    train = images_of(str(path), arrays["x"], arrays["y"], arrays.get("fine"))
    if "x_test" not in arrays and "y_test" not in arrays:
        return train, None
    for key in ("x_test", "y_test"):
        require(key in arrays, f"{path} has no array {key!r}; give x_test and y_test, or neither")
    fine = arrays.get("fine_test")
    return train, images_of(f"{path} (test)", arrays["x_test"], arrays["y_test"], fine)


def _of_loader(name: str) -> tuple[Images, Images | None]:
    """Call the loader without arguments.

    It returns one part, or (training part, test part). A part is (x, y), (x, y, fine labels), or
    `Images`.
    """
    loader: Callable[..., Any] = find_builder(name, "data set")
    with user_code(f"data set {name!r}", "mend the loader"):
        found = loader()
    action = "return (x, y), or ((x, y), (x_test, y_test))"
    if isinstance(found, Images):
        return images_of(name, found.x, found.y, found.fine), None
    require(isinstance(found, tuple | list), f"data set {name!r} is a {type(found)}; {action}")
    nested = len(found) == 2 and all(isinstance(part, Images | tuple | list) for part in found)
    if not nested:
        return _part(name, found, action), None
    return _part(name, found[0], action), _part(f"{name} (test)", found[1], action)


def _part(what: str, part: Any, action: str) -> Images:
    if isinstance(part, Images):
        return images_of(what, part.x, part.y, part.fine)
    require(len(part) in (2, 3), f"data set {what!r} has a part of {len(part)}; {action}")
    return images_of(what, *part)


def _of_folder(folder: Path) -> tuple[Images, Images]:
    """Read `train/<class>/*` and `test/<class>/*`; classes are numbered by their sorted names."""
    names = _subfolders(folder / "train")
    others = _subfolders(folder / "test")
    require(
        names == others,
        f"{folder / 'test'} has the classes {others}, but {folder / 'train'} has {names}; "
        "give both a subfolder of every class",
    )
    files = {part: _files(folder / part, names) for part in ("train", "test")}
    paths = [path for found in files.values() for path, _ in found]
    grey = all(_mode(path) in ("1", "L") for path in paths)
    size: list[tuple[int, int]] = []
    parts = [_images("L" if grey else "RGB", found, size) for found in files.values()]
    return parts[0], parts[1]


def _subfolders(folder: Path) -> list[str]:
    require(folder.is_dir(), f"{folder} is missing; give train/ and test/, one subfolder per class")
    return sorted(path.name for path in folder.iterdir() if path.is_dir())


def _files(folder: Path, names: list[str]) -> list[tuple[Path, int]]:
    """Return the image files of a part, with the number of their class."""
    found = []
    for label, name in enumerate(names):
        inside = sorted(folder.joinpath(name).iterdir())
        own = [path for path in inside if path.suffix.lower() in SUFFIXES]
        require(len(own) > 0, f"{folder / name} holds no images; known: {', '.join(SUFFIXES)}")
        found += [(path, label) for path in own]
    return found


def _mode(path: Path) -> str:
    with _opened(path) as image:
        return str(image.mode)


def _opened(path: Path) -> Image.Image:
    try:
        return Image.open(path)
    except (UnidentifiedImageError, OSError) as error:
        raise BadInput(f"{path} is no image that can be read; replace or remove it") from error


def _images(mode: str, files: list[tuple[Path, int]], size: list[tuple[int, int]]) -> Images:
    """Read image files. `size` holds the first image's, once it is known: all have the same."""
    pixels = [read_image(path, mode, size) for path, _ in files]
    labels = torch.tensor([label for _, label in files])
    return Images(torch.stack(pixels), labels)


def read_image(path: Path, mode: str, size: list[tuple[int, int]]) -> Tensor:
    """Read one image file: uint8 (1, height, width) for mode `L`, (3, height, width) for `RGB`.

    size: (width, height) that it must have; empty before the first image, which sets it

    Raises `BadInput` for a file that is damaged, or of another size.
    """
    with _opened(path) as image:
        if not size:
            size.append(image.size)
        found = "{} x {}".format(*image.size)
        wanted = "{} x {}".format(*size[0])
        require(
            image.size == size[0],
            f"{path} has {found} pixels, but the images before it {wanted}; give all one size",
        )
        try:
            values = np.array(image.convert(mode))
        except OSError as error:
            raise BadInput(f"{path} is damaged ({error}); replace or remove it") from error
    planes = values[None] if mode == "L" else values.transpose(2, 0, 1)
    return torch.from_numpy(planes.copy())


def images_of(what: str, x: Any, y: Any, fine: Any = None) -> Images:
    """Check arrays or tensors of images and labels, and convert them.

    x: (n, height, width) or (n, channels, height, width) of 1 to 4 channels; bytes, or floats in
        [0, 1], which are rounded to 256 steps
    y, fine: whole numbers (n,) from 0
    """
    pixels = _array(f"x of {what}", x)
    if pixels.ndim == 3:
        pixels = pixels[:, None]
    shape = tuple(pixels.shape)
    require(
        pixels.ndim == 4 and len(pixels) > 0 and 1 <= shape[1] <= MOST_CHANNELS,
        f"x of {what} has the shape {shape}, not (n, height, width) or (n, channels, height, "
        f"width) of 1 to {MOST_CHANNELS} channels; reshape it, or move the channels to the front",
    )
    labels = _labels(f"y of {what}", y, shape[0])
    finer = None if fine is None else _labels(f"fine labels of {what}", fine, shape[0])
    return Images(_bytes(f"x of {what}", pixels), labels, finer)


def _array(what: str, values: Any) -> np.ndarray:
    plain = values.detach().cpu().numpy() if isinstance(values, Tensor) else values
    require(
        isinstance(plain, np.ndarray) and plain.dtype.kind in "buif",
        f"{what} must be an array of numbers, not {getattr(plain, 'dtype', type(plain))}; "
        "convert it",
    )
    return np.asarray(plain)


def _labels(what: str, values: Any, n: int) -> Tensor:
    array = _array(what, values)
    fits = array.shape == (n,) and array.dtype.kind in "ui"
    require(
        fits and int(array.min()) >= 0 and int(array.max()) < MOST_CLASSES,
        f"{what} must be {n} whole numbers from 0 to {MOST_CLASSES - 1}, (n,), "
        f"not {array.dtype} {array.shape}; "
        "number the classes 0, 1, 2, ...",
    )
    return torch.from_numpy(array.astype(np.int64))


def _bytes(what: str, pixels: np.ndarray) -> Tensor:
    if pixels.dtype == np.uint8:
        return torch.from_numpy(pixels.copy())
    is_share = pixels.dtype.kind == "f" and pixels.min() >= 0 and pixels.max() <= 1
    require(
        bool(is_share),
        f"{what} holds {pixels.dtype} from {pixels.min()} to {pixels.max()}; give bytes (uint8), "
        "or floats between 0 and 1",
    )
    return torch.from_numpy(np.rint(pixels * 255).astype(np.uint8))
