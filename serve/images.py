"""Pictures in and out: sheets as PNG, arrays as .npy, uploads as pixels. A wrong upload is refused before decoding."""

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
MAX_PIXELS = 1 << 20  # of one upload, as its header declares them
BROKEN = (
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
    """An upload above a limit; the message names the limit."""


def sheet(images: NDArray[np.uint8], scale: int = 3, gap: int = 1) -> bytes:
    """A near-square grid of images (n, channels, height, width) as PNG, every pixel `scale` pixels wide, `gap` image
    pixels apart. The same images give the same bytes."""
    n, channels, height, width = images.shape
    columns = math.ceil(math.sqrt(n))
    rows = math.ceil(n / columns)
    cells = np.full((rows * columns, height + gap, width + gap, channels), 48, np.uint8)
    cells[:n, :height, :width] = images.transpose(0, 2, 3, 1)
    grid = (
        cells.reshape(rows, columns, *cells.shape[1:])
        .swapaxes(1, 2)
        .reshape(rows * (height + gap), -1, channels)
    )
    trimmed = grid[: grid.shape[0] - gap, : grid.shape[1] - gap]
    return _png(trimmed.repeat(scale, 0).repeat(scale, 1))


def _png(pixels: NDArray[np.uint8]) -> bytes:
    """PNG of pixels (height, width, channels)."""
    file = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(
        file, "PNG", compress_level=6
    )
    return file.getvalue()


def npy(images: NDArray[np.uint8]) -> bytes:
    """The array in NumPy's .npy format."""
    file = io.BytesIO()
    np.save(file, images, allow_pickle=False)
    return file.getvalue()


def decode(data: bytes, shape: tuple[int, int, int]) -> NDArray[np.float32]:
    """The pixels (channels, height, width) in [0, 1] of a PNG or JPEG file; colours are converted to the channels of
    `shape`. Raises `BadInput` for a broken file or another size, `TooLarge` above 2**20 declared pixels."""
    channels, height, width = shape
    require(
        channels in MODES,
        f"images of {channels} channels cannot be sent as files; send nested lists",
    )
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            _check_size(image.size, (width, height))
            pixels = np.asarray(
                _eight_bits(image).convert(MODES[channels]), np.float32
            ) / np.float32(255)
    except Image.DecompressionBombError as error:
        raise TooLarge(f"image of too many pixels; at most {MAX_PIXELS}") from error
    except (BadInput, TooLarge):
        raise
    except BROKEN as error:
        raise BadInput("not a readable image; send a whole PNG or JPEG file") from error
    return pixels.reshape(height, width, channels).transpose(2, 0, 1)


def _check_size(size: tuple[int, int], needed: tuple[int, int]) -> None:
    if size[0] * size[1] > MAX_PIXELS:
        raise TooLarge(f"image of {size[0]} x {size[1]} pixels; at most {MAX_PIXELS} pixels")
    wanted = f"{needed[0]} x {needed[1]} (width x height)"
    require(
        size == needed,
        f"image of {size[0]} x {size[1]} pixels; this model needs {wanted}; resize it",
    )


def _eight_bits(image: Image.Image) -> Image.Image:
    """Sixteen-bit grey (0 .. 65535) brought to eight bits, which Pillow's own conversion would clip."""
    if not image.mode.startswith("I"):
        return image
    return Image.fromarray((np.asarray(image, np.int64).clip(0, 65535) // 257).astype(np.uint8))


def parse(images: list[Any], shape: tuple[int, int, int]) -> NDArray[np.float32]:
    """Images from JSON (n, channels, height, width): each nested lists of pixel values in [0, 1], or a base64 PNG.

    One-channel images may leave the channel out. Raises `BadInput` that names the image, or `TooLarge`.
    """
    return np.stack([_one(f"images[{i}]", image, shape) for i, image in enumerate(images)])


def _one(where: str, image: Any, shape: tuple[int, int, int]) -> NDArray[np.float32]:
    try:
        return decode(_unpack(image), shape) if isinstance(image, str) else _nested(image, shape)
    except BadInput as error:
        raise BadInput(f"{where}: {error}") from error


def _unpack(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadInput(
            "not base64; send a PNG file in base64, or nested lists of pixel values"
        ) from error


def _nested(image: Any, shape: tuple[int, int, int]) -> NDArray[np.float32]:
    """Nested lists as pixels; anything but numbers in [0, 1] in the model's shape is refused."""
    rule = f"must be nested lists of shape {list(shape)}" + (
        f" or {list(shape[1:])}" if shape[0] == 1 else ""
    )
    try:
        pixels = np.array(image)
    except (ValueError, OverflowError) as error:
        raise BadInput(rule) from error
    fits = pixels.shape == shape or (shape[0] == 1 and pixels.shape == shape[1:])
    require(fits and pixels.dtype.kind in "iuf", f"{rule}, holding numbers")
    require(bool(((pixels >= 0) & (pixels <= 1)).all()), "pixel values must be numbers in [0, 1]")
    return pixels.reshape(shape).astype(np.float32)
