"""Prepare uploaded images as the model's data set was prepared: ground, size, place.

MNIST's digits are light on black, scaled into a box of 20 x 20 pixels and centred in 28 x 28 by
their centre of mass (LeCun, Cortes, Burges: http://yann.lecun.com/exdb/mnist/). Fashion-MNIST's
pieces are light on black, scaled until the longer side fills 28 pixels, and centred by their box
(arXiv:1708.07747). Other data sets have no such rule: their images are photos as they are.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

WHITE, BLACK = 255, 0
NOISE = 0.15  # of the contrast: what is fainter counts as ground
FAINT = 24  # grey levels: an image with less contrast holds nothing to centre
SMOOTH = Image.Resampling.LANCZOS
Pixels = NDArray[np.float64]


@dataclass(frozen=True)
class Convention:
    """How the images of a data set lie in their frame.

    ground: grey level of an empty pixel, 0 or 255; None where images have no ground
    box: side of the square that the content is scaled into, in pixels; None leaves its size
    centre: `mass` centres the content by its centre of mass, `box` by its bounding box
    """

    ground: int | None = None
    box: int | None = None
    centre: Literal["mass", "box"] = "box"


DIGITS = Convention(BLACK, 20, "mass")
PHOTOS = Convention()
CONVENTIONS = {
    "mnist": DIGITS,
    "mnist5k": DIGITS,
    "fashion-mnist": Convention(BLACK, 28, "box"),
}


def convention_of(dataset: str | None, channels: int) -> Convention:
    """Return the convention of a data set by name; `PHOTOS` where none is known."""
    return CONVENTIONS.get(dataset or "", PHOTOS) if channels == 1 else PHOTOS


def compose(image: Image.Image, convention: Convention) -> Image.Image:
    """Put an RGBA image on an opaque ground.

    A photo lies on white, as browsers and viewers show it. Where the data set has a ground, the
    drawing is made to stand out from it: dark ink on nothing becomes light ink on black.
    """
    if convention.ground is None:
        return _on(image, WHITE)
    opposite = WHITE if convention.ground == BLACK else BLACK
    stands_out = abs(_ink_level(image) - convention.ground) >= abs(_ink_level(image) - opposite)
    if stands_out:
        return _on(image, convention.ground).convert("L")
    return ImageOps.invert(_on(image, opposite).convert("L"))


def _on(image: Image.Image, level: int) -> Image.Image:
    """Composite an RGBA image onto a plain grey level."""
    ground = Image.new("RGBA", image.size, (level, level, level, 255))
    return Image.alpha_composite(ground, image).convert("RGB")


def _ink_level(image: Image.Image) -> float:
    """Return the mean grey level of an RGBA image, each pixel weighted by its opacity."""
    grey = np.asarray(image.convert("RGB").convert("L"), float)
    opacity = np.asarray(image.getchannel("A"), float)
    total = float(opacity.sum())
    return float((grey * opacity).sum() / total) if total else float(WHITE)


def fitted(
    image: Image.Image,
    size: tuple[int, int],
    fit: Literal["pad", "crop"],
    convention: Convention,
) -> Image.Image:
    """Scale an image of mode L or RGB to `size` (width, height).

    fit: `pad` keeps the whole image and adds ground beside it; `crop` fills the frame and cuts
        what is left over
    convention: where the data set has a ground, the content is also lifted off the image's own
        ground, scaled into the data set's box and centred
    """
    if convention.box is None:
        return _framed(image, size, fit, BLACK)
    grey = image.convert("L")
    if fit == "crop":
        grey = _cropped(grey, size)
    return _centred(_ink(grey), size, convention)


def _framed(
    image: Image.Image, size: tuple[int, int], fit: Literal["pad", "crop"], ground: int
) -> Image.Image:
    """Scale a photo into a frame."""
    if fit == "crop":
        return ImageOps.fit(image, size, SMOOTH)
    color = ground if image.mode == "L" else (ground, ground, ground)
    return ImageOps.pad(image, size, SMOOTH, color=color)


def _cropped(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Cut the largest centred part of the proportions of `size`, without scaling."""
    scale = min(image.width / size[0], image.height / size[1])
    width, height = max(1, round(scale * size[0])), max(1, round(scale * size[1]))
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))


def _ink(image: Image.Image) -> Pixels:
    """Return how strongly each pixel of a grey image differs from its ground, in [0, 1].

    The ground is the median level of the image's edge, dark or light. 0 everywhere where there is
    too little contrast.
    """
    levels = np.asarray(image, float)
    edge = np.concatenate([levels[0], levels[-1], levels[:, 0], levels[:, -1]])
    contrast = np.abs(levels - np.median(edge))
    peak = float(np.percentile(contrast, 99.5))
    peak = peak if peak >= FAINT else float(contrast.max())
    if peak < FAINT:
        return np.zeros_like(contrast)
    ink = (contrast / peak).clip(0, 1)
    return np.where(ink < NOISE, 0.0, ink)


def _centred(ink: Pixels, size: tuple[int, int], convention: Convention) -> Image.Image:
    """Scale the ink into the convention's box and centre it in a frame of `size`."""
    frame = Image.new("L", size, BLACK)
    content = _trimmed(ink)
    if content is not None and convention.box is not None:
        scale = convention.box / max(content.size)
        shape = [max(1, round(side * scale)) for side in content.size]
        small = content.resize((shape[0], shape[1]), SMOOTH)
        x, y = _middle(small, convention)
        frame.paste(small, (round(size[0] / 2 - x), round(size[1] / 2 - y)))
    return frame if convention.ground == BLACK else ImageOps.invert(frame)


def _trimmed(ink: Pixels) -> Image.Image | None:
    """Cut the bounding box of the ink; None where there is none."""
    rows, columns = np.flatnonzero(ink.any(1)), np.flatnonzero(ink.any(0))
    if len(rows) == 0:
        return None
    content = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return Image.fromarray((content * 255).round().astype(np.uint8))


def _middle(content: Image.Image, convention: Convention) -> tuple[float, float]:
    """Return the point (x, y) of the content that goes to the middle of the frame."""
    if convention.centre == "box":
        return content.width / 2, content.height / 2
    mass = np.asarray(content, float)
    total = mass.sum()
    if total == 0:
        return content.width / 2, content.height / 2
    x = (mass.sum(0) * (np.arange(content.width) + 0.5)).sum() / total
    y = (mass.sum(1) * (np.arange(content.height) + 0.5)).sum() / total
    return float(x), float(y)
