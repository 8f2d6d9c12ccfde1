"""Sheets, arrays and uploads, without a service."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from serve.images import MAX_PHOTO_PIXELS, TooLarge, decode, decode_all, npy, parse, sheet
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
        ([[0.5, True] * 14] * 28, "not true or false"),
        ([[[0.5] * 28] * 27 + [[False] + [0.5] * 27]], "not true or false"),
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


def file_of(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    """Encode an image as Pillow saves it."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def stroke(ink: int) -> Image.Image:
    """A vertical stroke of grey `ink`, 4 x 20 pixels, on nothing."""
    drawn = Image.new("RGBA", (28, 28), (0, 0, 0, 0))
    drawn.paste((ink, ink, ink, 255), (12, 4, 16, 24))
    return drawn


@pytest.mark.parametrize("ink", [0, 255])
def test_ink_on_nothing_is_a_digit_as_the_data_set_has_it(ink: int) -> None:
    expected = np.zeros((28, 28))
    expected[4:24, 12:16] = 1
    assert (decode(file_of(stroke(ink)), GREY, "mnist5k")[0] == expected).all()


def test_half_transparent_ink_is_grey() -> None:
    faint = Image.new("RGBA", (28, 28), (0, 0, 0, 128))
    # Black at 128 of 255 on white is 127; a digit on black, it is 255 - 127.
    assert np.allclose(decode(file_of(faint), GREY, "mnist"), 128 / 255)


def test_a_photo_with_transparency_lies_on_white() -> None:
    nothing = Image.new("RGBA", (6, 8), (9, 9, 9, 0))
    assert (decode(file_of(nothing), COLOUR, "cifar10") == 1).all()


def test_a_transparent_palette_entry_and_a_grey_with_alpha_are_composited() -> None:
    palette = Image.new("P", (28, 28), 1)
    palette.putpalette([255, 255, 255, 0, 0, 0])
    palette.paste(0, (0, 0, 28, 14))  # the upper half is entry 0, which is transparent
    data = file_of(palette, transparency=0)
    assert (decode(data, GREY, "mnist")[0, :14] == 0).all()
    assert (decode(data, GREY, "mnist")[0, 14:] == 1).all()  # black ink
    grey = Image.new("LA", (28, 28), (0, 255))
    assert (decode(file_of(grey), GREY, "mnist") == 1).all()


def test_the_exif_orientation_is_applied_before_the_size_is_checked() -> None:
    lying = np.zeros((6, 8, 3), np.uint8)
    lying[:, :2] = 255  # a white left edge
    turned = Image.Exif()
    turned[0x0112] = 6  # to be shown turned by a quarter, clockwise
    upright = decode(file_of(Image.fromarray(lying), "JPEG", exif=turned, quality=95), COLOUR)
    assert upright[:, :2].min() > 0.9  # the left edge became the upper one
    assert upright[:, 3:].max() < 0.1
    with pytest.raises(BadInput, match="8 x 6 pixels; this model needs 6 x 8"):
        decode(file_of(Image.fromarray(lying), "JPEG"), COLOUR)


def test_sixteen_bit_grey_with_a_transparent_level_is_refused() -> None:
    half = Image.fromarray(np.full((28, 28), 32896, np.uint16))
    with pytest.raises(BadInput, match="16-bit grey with a transparent level"):
        decode(file_of(half, transparency=32896), GREY)


@pytest.mark.parametrize("separator", ["", "\n", "\r\n "])
@pytest.mark.parametrize("prefix", ["", "data:image/png;base64,"])
def test_base64_is_read_as_clients_write_it(prefix: str, separator: str) -> None:
    image = pictures(1, GREY)[0]
    text = base64.urlsafe_b64encode(png(image[0])).decode()
    assert "-" in text or "_" in text
    lines = separator.join(text[i : i + 76] for i in range(0, len(text), 76))
    expected = image.astype(np.float32) / np.float32(255)
    assert (parse([prefix + lines.rstrip("=")], GREY)[0] == expected).all()


def photo(ink: int, paper: int) -> Image.Image:
    """A stroke of 30 x 150 pixels in a corner of a sheet of 400 x 300, with a little noise."""
    levels = np.full((300, 400), paper, float)
    levels[20:170, 10:40] = ink
    noise = np.random.default_rng(0).normal(0, 4, levels.shape)
    return Image.fromarray((levels + noise).clip(0, 255).astype(np.uint8))


@pytest.mark.parametrize(("ink", "paper"), [(40, 220), (220, 30)])
def test_a_photo_of_a_digit_is_scaled_and_centred_as_mnist_is(ink: int, paper: int) -> None:
    pixels = decode(file_of(photo(ink, paper)), GREY, "mnist", "pad")[0]
    rows, columns = np.flatnonzero(pixels.max(1) > 0.5), np.flatnonzero(pixels.max(0) > 0.5)
    # 150 pixels high become 20, 30 wide become 4; both in the middle of 28.
    assert (rows[0], rows[-1]) == (4, 23)
    assert (columns[0], columns[-1]) == (12, 15)
    assert pixels[6:22, 13:15].min() > 0.8
    assert pixels[:3].max() == 0


def test_the_centre_of_mass_of_a_digit_goes_to_the_middle() -> None:
    levels = np.zeros((100, 100), np.uint8)
    levels[10:90, 40:45] = 255  # a stem
    levels[10:30, 40:80] = 255  # and a heavy head, up and to the right
    pixels = decode(file_of(Image.fromarray(levels)), GREY, "mnist5k", "pad")[0]
    at = np.arange(28) + 0.5
    x, y = (pixels.sum(0) @ at) / pixels.sum(), (pixels.sum(1) @ at) / pixels.sum()
    assert abs(x - 14) <= 0.6
    assert abs(y - 14) <= 0.6


def test_fashion_fills_its_frame() -> None:
    levels = np.full((100, 100), 255, np.uint8)
    levels[30:70, 10:90] = 0
    pixels = decode(file_of(Image.fromarray(levels)), GREY, "fashion-mnist", "pad")[0]
    assert (np.flatnonzero(pixels.max(0) > 0.5)[[0, -1]] == [0, 27]).all()
    assert (np.flatnonzero(pixels.max(1) > 0.5)[[0, -1]] == [7, 20]).all()


def test_an_empty_sheet_holds_nothing() -> None:
    assert (decode(file_of(photo(200, 200)), GREY, "mnist", "pad") == 0).all()


def test_pad_keeps_a_whole_photo_and_crop_fills_the_frame() -> None:
    wide = np.zeros((8, 24, 3), np.uint8)
    wide[:, :8], wide[:, 8:16], wide[:, 16:] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    shape = (3, 6, 6)
    cropped = decode(png(wide), shape, "cifar10", "crop")
    assert (cropped[1] > 0.9).all()  # the green middle alone
    padded = decode(png(wide), shape, "cifar10", "pad")
    assert (padded[:, :2] == 0).all()
    assert (padded[:, 4:] == 0).all()
    assert padded[0, 2:4, 0].min() > 0.7
    assert padded[2, 2:4, 5].min() > 0.7


def test_an_image_of_the_right_size_is_left_alone_where_no_fit_is_asked() -> None:
    dark = np.full((28, 28), 255, np.uint8)
    dark[4:9, 4:9] = 0
    assert (decode(png(dark), GREY, "mnist")[0] * 255 == dark).all()


def test_photos_are_limited_one_by_one_and_together() -> None:
    with pytest.raises(TooLarge, match=f"at most {MAX_PHOTO_PIXELS}"):
        decode(bomb(5000, 5000), GREY, "mnist", "pad")
    with pytest.raises(TooLarge, match=f"at most {MAX_PHOTO_PIXELS} per request"):
        decode_all([bomb(3000, 3000)] * 2, GREY, "mnist", "pad")
    text = base64.b64encode(bomb(3000, 3000)).decode()
    with pytest.raises(TooLarge, match=f"at most {MAX_PHOTO_PIXELS} per request"):
        parse([text, text], GREY, "mnist", "pad")
