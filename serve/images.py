"""Encode images as PNG sheets and .npy arrays, and decode uploads.

An upload that breaks a rule is refused before it is decoded.
"""

import base64
import binascii
import io
import math
import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from unlearn.errors import BadInput, require

MODES = {1: "L", 3: "RGB"}  # channels -> Pillow's mode
FORMATS = ("PNG", "JPEG")
MAX_PIXELS = 1 << 20  # per uploaded image, as its header declares them
GAP_GREY = 48  # grey level between the images of a sheet
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


def decode(data: bytes, shape: tuple[int, int, int]) -> NDArray[np.float32]:
    """Decode a PNG or JPEG file to pixels (channels, height, width) in [0, 1].

    Colours are converted to the channels of `shape`. Raises `BadInput` for a broken file or another
    size, `TooLarge` if the file declares more than `MAX_PIXELS` pixels.
    """
    channels, height, width = shape
    require(
        channels in MODES,
        f"images of {channels} channels cannot be sent as files; send nested lists",
    )
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            _check_size(image.size, (width, height))
            converted = _eight_bits(image).convert(MODES[channels])
            pixels = np.asarray(converted, np.float32) / np.float32(255)
    except Image.DecompressionBombError as error:
        raise TooLarge(f"image of too many pixels; at most {MAX_PIXELS}") from error
    except (BadInput, TooLarge):
        raise
    except BROKEN as error:
        raise BadInput("not a readable image; send a whole PNG or JPEG file") from error
    return pixels.reshape(height, width, channels).transpose(2, 0, 1)


def _check_size(size: tuple[int, int], needed: tuple[int, int]) -> None:
    """Refuse an image whose declared size (width, height) is too large or not the needed one."""
    width, height = size
    given = f"image of {width} x {height} pixels"
    if width * height > MAX_PIXELS:
        raise TooLarge(f"{given}; at most {MAX_PIXELS} pixels")
    wanted = f"{needed[0]} x {needed[1]} (width x height)"
    require(size == needed, f"{given}; this model needs {wanted}; resize it")


def _eight_bits(image: Image.Image) -> Image.Image:
    """Scale 16-bit grey (0 to 65535) to 8 bits; Pillow's own conversion would clip it."""
    if not image.mode.startswith("I"):
        return image
    levels = np.asarray(image, np.int64).clip(0, 65535)
    return Image.fromarray((levels // 257).astype(np.uint8))


def parse(images: list[Any], shape: tuple[int, int, int]) -> NDArray[np.float32]:
    """Read images from JSON values to pixels (n, channels, height, width) in [0, 1].

    Each image is a nested list of pixel values in [0, 1], or a PNG or JPEG file in base64. The
    channel axis may be left out if there is one channel. Raises `BadInput`, which names the image,
    or `TooLarge`.
    """
    parsed = [_parse_one(i, image, shape) for i, image in enumerate(images)]
    return np.stack(parsed)


def _parse_one(index: int, image: Any, shape: tuple[int, int, int]) -> NDArray[np.float32]:
    try:
        if isinstance(image, str):
            return decode(_unpack(image), shape)
        return _nested(image, shape)
    except BadInput as error:
        raise BadInput(f"images[{index}]: {error}") from error


def _unpack(text: str) -> bytes:
    """Decode base64. Raises `BadInput`."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        rule = "not base64; send a PNG file in base64, or nested lists of pixel values"
        raise BadInput(rule) from error


def _nested(image: Any, shape: tuple[int, int, int]) -> NDArray[np.float32]:
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
    in_range = (pixels >= 0) & (pixels <= 1)
    require(bool(in_range.all()), "pixel values must be numbers in [0, 1]")
    return pixels.reshape(shape).astype(np.float32)
