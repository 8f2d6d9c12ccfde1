"""Sheets, arrays and uploads, without a service."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from serve.images import TooLarge, decode, npy, parse, sheet
from tests.serve.conftest import bomb, png
from unlearn.errors import BadInput

GREY, COLOUR = (1, 28, 28), (3, 8, 6)


def pictures(n: int, shape: tuple[int, int, int]) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, *shape), np.uint8)


@pytest.mark.parametrize(
    ("n", "columns", "rows"), [(1, 1, 1), (2, 2, 1), (3, 2, 2), (5, 3, 2), (16, 4, 4), (17, 5, 4)]
)
def test_a_sheet_is_near_square_and_holds_every_image_in_reading_order(
    n: int, columns: int, rows: int
) -> None:
    images = pictures(n, GREY)
    grid = np.asarray(Image.open(io.BytesIO(sheet(images, scale=2, gap=1))))[::2, ::2]
    assert grid.shape == (rows * 29 - 1, columns * 29 - 1)
    for i, image in enumerate(images):
        top, left = i // columns * 29, i % columns * 29
        assert (grid[top : top + 28, left : left + 28] == image[0]).all()


def test_a_sheet_of_colour_images_keeps_its_colours() -> None:
    image = pictures(1, COLOUR)
    decoded = np.asarray(Image.open(io.BytesIO(sheet(image, scale=1))))
    assert (decoded == image[0].transpose(1, 2, 0)).all()


def test_the_same_images_give_the_same_bytes() -> None:
    images = pictures(9, GREY)
    assert sheet(images) == sheet(images.copy())
    assert sheet(images) != sheet(255 - images)


def test_npy_can_be_read_back() -> None:
    images = pictures(3, COLOUR)
    assert (np.load(io.BytesIO(npy(images))) == images).all()


def test_decode_reverses_png_in_grey_and_colour() -> None:
    grey, colour = pictures(1, GREY)[0], pictures(1, COLOUR)[0]
    assert (decode(png(grey[0]), GREY) == grey.astype(np.float32) / np.float32(255)).all()
    assert np.allclose(decode(png(colour.transpose(1, 2, 0)), COLOUR), colour / 255)


def test_decode_converts_colours_to_the_channels_of_the_model() -> None:
    white = np.full((28, 28, 3), 255, np.uint8)
    assert (decode(png(white), GREY) == 1).all()
    assert decode(png(np.zeros((8, 6), np.uint8)), COLOUR).shape == COLOUR


def test_sixteen_bit_grey_is_scaled_not_clipped() -> None:
    half = np.full((28, 28), 32896, np.uint16)
    assert np.allclose(decode(png(half), GREY), 128 / 255)


def test_another_size_is_refused_with_the_needed_one() -> None:
    with pytest.raises(BadInput, match=r"image of 6 x 8 pixels; this model needs 28 x 28"):
        decode(png(np.zeros((8, 6), np.uint8)), GREY)


@pytest.mark.parametrize("side", [2000, 30_000, 2**31 - 1])
def test_a_decompression_bomb_is_refused_before_it_is_decoded(side: int) -> None:
    with pytest.raises(TooLarge, match="at most"):
        decode(bomb(side, side), GREY)


def outcome(data: bytes) -> str:
    """Decode an upload; return the shape, or the refusal."""
    try:
        return str(decode(data, GREY).shape)
    except (BadInput, TooLarge) as error:
        return str(error)


def test_every_truncation_and_every_flipped_byte_is_decoded_or_refused_in_one_line() -> None:
    whole = png(pictures(1, GREY)[0, 0])
    for cut in range(0, len(whole), 7):
        flipped = bytearray(whole)
        flipped[cut] ^= 0xFF
        for data in (whole[:cut], bytes(flipped)):
            assert "\n" not in outcome(data)


@pytest.mark.parametrize("data", [b"", b"GIF89a" + b"\0" * 99, b"hello", b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_image_is_refused(data: bytes) -> None:
    with pytest.raises(BadInput, match="not a readable image"):
        decode(data, GREY)


def test_parse_takes_nested_lists_with_or_without_the_channel_and_base64() -> None:
    image = pictures(1, GREY)[0]
    values = image / 255
    text = base64.b64encode(png(image[0])).decode()
    assert np.allclose(parse([values.tolist(), values[0].tolist(), text], GREY), values, atol=1e-6)


@pytest.mark.parametrize(
    ("image", "says"),
    [
        ([[0.5] * 28] * 27, "shape"),
        ([[0.5] * 28] * 27 + [[0.5]], "shape"),
        ([[2.0] * 28] * 28, r"\[0, 1\]"),
        ([[float("nan")] * 28] * 28, r"\[0, 1\]"),
        ([["x"] * 28] * 28, "numbers"),
        ([[None] * 28] * 28, "numbers"),
        ([[True] * 28] * 28, "numbers"),
        ([[10**400] * 28] * 28, "numbers"),
        ({}, "shape"),
        (None, "shape"),
        (3, "shape"),
        ("!!!", "base64"),
        ("aGVsbG8=", "not a readable image"),
    ],
)
def test_parse_names_the_image_and_the_rule(image: object, says: str) -> None:
    with pytest.raises(BadInput, match=rf"^images\[1\]: .*{says}"):
        parse([[[0.0] * 28] * 28, image], GREY)
