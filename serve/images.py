"""Encode images as PNG sheets and .npy arrays, and decode uploads.

An upload that breaks a rule is refused before it is decoded.
"""

import base64
import binascii
import io
import math
import struct
import zlib
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from serve.fitting import Convention, compose, convention_of, fitted
from unlearn.errors import BadInput, require

MODES = {1: "L", 3: "RGB"}  # channels -> Pillow's mode
FORMATS = ("PNG", "JPEG")
MAX_PIXELS = 1 << 20  # per uploaded image of the model's size, as its header declares them
MAX_PHOTO_PIXELS = 1 << 24  # with `fit`: of all photos of one request together
GAP_GREY = 48  # grey level between the images of a sheet
URL_SAFE = str.maketrans("-_", "+/")  # base64's url-safe alphabet -> the standard one
BROKEN = (  # what Pillow raises for a damaged file
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    struct.error,
    zlib.error,
    OverflowError,
)
Shape = tuple[int, int, int]
Fit = Literal["pad", "crop"]


class TooLarge(ValueError):
    """An upload is above a limit. The message names the limit."""


def sheet(images: NDArray[np.uint8], scale: int = 3, gap: int = 1) -> bytes:
    """Arrange images (n, channels, height, width) in a near-square grid; return it as PNG.

    The same images give the same bytes.

    scale: width and height of an image pixel, in pixels of the PNG.
    gap: distance between images, in image pixels.
    """
    n, channels, height, width = images.shape
    columns = math.ceil(math.sqrt(n))
    rows = math.ceil(n / columns)
    padded = (rows * columns, height + gap, width + gap, channels)
    cells = np.full(padded, GAP_GREY, np.uint8)
    cells[:n, :height, :width] = images.transpose(0, 2, 3, 1)
    by_row = cells.reshape(rows, columns, *padded[1:]).swapaxes(1, 2)
    grid = by_row.reshape(rows * (height + gap), columns * (width + gap), channels)
    trimmed = grid[: grid.shape[0] - gap, : grid.shape[1] - gap]
    return _png(trimmed.repeat(scale, 0).repeat(scale, 1))


def _png(pixels: NDArray[np.uint8]) -> bytes:
    """Encode pixels (height, width, channels) as PNG."""
    grey = pixels.shape[2] == 1
    image = Image.fromarray(pixels[..., 0] if grey else pixels)
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=6)
    return file.getvalue()


def npy(images: NDArray[np.uint8]) -> bytes:
    """Encode an array in NumPy's .npy format."""
    file = io.BytesIO()
    np.save(file, images, allow_pickle=False)
    return file.getvalue()


def decode(
    data: bytes, shape: Shape, dataset: str | None = None, fit: Fit | None = None
) -> NDArray[np.float32]:
    """Decode a PNG or JPEG file to pixels (channels, height, width) in [0, 1].

    The file's EXIF orientation is applied, transparent pixels are composited, 16-bit grey is
    scaled, colours are converted to the channels of `shape`.

    dataset: what the model was trained on; says what lies under transparent pixels, and how `fit`
        prepares an image
    fit: how an image of another size is scaled: `pad` keeps all of it, `crop` fills the frame;
        None refuses another size

    Raises `BadInput` for a broken file or another size, `TooLarge` if the file declares more than
    `MAX_PIXELS` pixels, or with `fit` more than `MAX_PHOTO_PIXELS`.
    """
    channels, height, width = shape
    require(
        channels in MODES,
        f"images of {channels} channels cannot be sent as files; send nested lists",
    )
    convention = convention_of(dataset, channels)
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            _check_pixels(image.size, MAX_PHOTO_PIXELS if fit else MAX_PIXELS)
            if fit is None:
                _check_size(_oriented_size(image), (width, height))
            elif image.format == "JPEG":
                image.draft(None, (4 * width, 4 * height))  # decodes a large photo at a fraction
            flat = _flatten(image, convention)
            if fit is not None:
                flat = fitted(flat, (width, height), fit, convention)
            pixels = np.asarray(flat.convert(MODES[channels]), np.float32) / np.float32(255)
    except Image.DecompressionBombError as error:
        raise TooLarge(f"image of too many pixels; at most {MAX_PIXELS}") from error
    except (BadInput, TooLarge):
        raise
    except BROKEN as error:
        raise BadInput("not a readable image; send a whole PNG or JPEG file") from error
    return pixels.reshape(height, width, channels).transpose(2, 0, 1)


def decode_all(
    files: Sequence[bytes], shape: Shape, dataset: str | None = None, fit: Fit | None = None
) -> NDArray[np.float32]:
    """Decode files as `decode` does: pixels (n, channels, height, width).

    Raises `TooLarge` where photos to fit declare more than `MAX_PHOTO_PIXELS` pixels together.
    """
    if fit is not None:
        _check_photos(files)
    return np.stack([decode(data, shape, dataset, fit) for data in files])


def _check_photos(files: Sequence[bytes]) -> None:
    """Refuse photos that declare too many pixels together; what is no image is refused later."""
    declared = 0
    for data in files:
        try:
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                declared += image.width * image.height
        except (*BROKEN, Image.DecompressionBombError):
            continue
        if declared > MAX_PHOTO_PIXELS:
            raise TooLarge(f"photos of too many pixels; at most {MAX_PHOTO_PIXELS} per request")


def _check_pixels(size: tuple[int, int], most: int) -> None:
    """Refuse an image whose declared size (width, height) has too many pixels."""
    width, height = size
    if width * height > most:
        raise TooLarge(f"image of {width} x {height} pixels; at most {most} pixels")


def _check_size(size: tuple[int, int], needed: tuple[int, int]) -> None:
    """Refuse an image whose size (width, height) is not the needed one."""
    given = f"image of {size[0]} x {size[1]} pixels"
    wanted = f"{needed[0]} x {needed[1]} (width x height)"
    require(
        size == needed,
        f"{given}; this model needs {wanted}; resize it, or send fit=pad or fit=crop",
    )


def _oriented_size(image: Image.Image) -> tuple[int, int]:
    """Return (width, height) after the EXIF orientation is applied; reads no pixels."""
    width, height = image.size
    turned = image.getexif().get(0x0112, 1) in (5, 6, 7, 8)  # by a quarter
    return (height, width) if turned else (width, height)


def _flatten(image: Image.Image, convention: Convention) -> Image.Image:
    """Return an upright image of mode L or RGB, without transparency, in 8 bits."""
    upright = ImageOps.exif_transpose(image)
    if upright.mode.startswith("I"):
        return _eight_bits(upright)
    if upright.has_transparency_data:
        return compose(upright.convert("RGBA"), convention)
    return upright.convert("L" if upright.mode in ("1", "L") else "RGB")


def _eight_bits(image: Image.Image) -> Image.Image:
    """Scale 16-bit grey (0 to 65535) to 8 bits; Pillow's own conversion would clip it."""
    require(
        "transparency" not in image.info,
        "16-bit grey with a transparent level cannot be read; save it with 8 bits per channel",
    )
    levels = np.asarray(image, np.int64).clip(0, 65535)
    return Image.fromarray((levels // 257).astype(np.uint8))


def parse(
    images: list[Any], shape: Shape, dataset: str | None = None, fit: Fit | None = None
) -> NDArray[np.float32]:
    """Read images from JSON values to pixels (n, channels, height, width) in [0, 1].

    Each image is a nested list of pixel values in [0, 1], or a PNG or JPEG file in base64. The
    channel axis may be left out if there is one channel. `dataset` and `fit` are as in `decode`,
    for files. Raises `BadInput`, which names the image, or `TooLarge`.
    """
    if fit is not None:
        _check_photos([_unpack(image) for image in images if _is_base64(image)])
    parsed = [_parse_one(i, image, shape, dataset, fit) for i, image in enumerate(images)]
    return np.stack(parsed)


def _is_base64(image: Any) -> bool:
    """Tell whether a JSON image is text that can be unpacked."""
    try:
        return isinstance(image, str) and _unpack(image) != b""
    except BadInput:
        return False


def _parse_one(
    index: int, image: Any, shape: Shape, dataset: str | None, fit: Fit | None
) -> NDArray[np.float32]:
    try:
        if isinstance(image, str):
            return decode(_unpack(image), shape, dataset, fit)
        return _nested(image, shape)
    except BadInput as error:
        raise BadInput(f"images[{index}]: {error}") from error


def _unpack(text: str) -> bytes:
    """Decode base64. Raises `BadInput`.

    Reads what clients send: a `data:image/png;base64,` prefix, line breaks, the url-safe alphabet,
    missing padding.
    """
    prefix, comma, rest = text.partition(",")
    content = rest if comma and prefix.startswith("data:") else text
    joined = "".join(content.split()).translate(URL_SAFE).rstrip("=")
    padded = joined + "=" * (-len(joined) % 4)
    try:
        return base64.b64decode(padded, validate=True)
    except (binascii.Error, ValueError) as error:
        rule = "not base64; send a PNG file in base64, or nested lists of pixel values"
        raise BadInput(rule) from error


def _nested(image: Any, shape: Shape) -> NDArray[np.float32]:
    """Read nested lists as pixels in the model's shape. Raises `BadInput` for anything else."""
    shapes = [shape, shape[1:]] if shape[0] == 1 else [shape]
    allowed = " or ".join(str(list(each)) for each in shapes)
    rule = f"must be nested lists of shape {allowed}"
    try:
        pixels = np.array(image)
    except (ValueError, OverflowError) as error:
        raise BadInput(rule) from error
    numbers = pixels.dtype.kind in "iuf"
    require(pixels.shape in shapes and numbers, f"{rule}, holding numbers")
    require(not _holds_boolean(image, pixels.ndim), f"{rule}, holding numbers, not true or false")
    in_range = (pixels >= 0) & (pixels <= 1)
    require(bool(in_range.all()), "pixel values must be numbers in [0, 1]")
    return pixels.reshape(shape).astype(np.float32)


def _holds_boolean(values: Any, depth: int) -> bool:
    """Tell whether lists nested to `depth` hold a boolean, which NumPy would read as 0 or 1."""
    if depth == 0:
        return isinstance(values, bool)
    return any(_holds_boolean(value, depth - 1) for value in values)
