"""Augmentations: how far an image is turned, scaled and shifted."""

import math

import torch
from torch import Tensor

from unlearn.augment import AUGMENTS
from unlearn.streams import stream

SIDE = 28
N = 400


def blob(row: float, column: float) -> Tensor:
    """N copies of an image with one round spot, (N, 1, 28, 28)."""
    place = torch.arange(SIDE, dtype=torch.float32)
    rows, columns = torch.exp(-((place - row) ** 2) / 4), torch.exp(-((place - column) ** 2) / 4)
    return torch.outer(rows, columns).expand(N, 1, SIDE, SIDE)


def centroid(images: Tensor) -> Tensor:
    """(row, column) of each image's centre of mass, (N, 2)."""
    place = torch.arange(SIDE, dtype=torch.float32)
    mass = images.sum((1, 2, 3))
    row = (images.sum((1, 3)) * place).sum(1) / mass
    column = (images.sum((1, 2)) * place).sum(1) / mass
    return torch.stack([row, column], 1)


def turned(row: float, column: float) -> Tensor:
    """Where `affine` puts a spot, under the same random numbers at every call."""
    return centroid(AUGMENTS["affine"](blob(row, column), stream(0, "affine")))


def test_none_returns_the_images_and_draws_nothing() -> None:
    generator = stream(0, "none")
    x = blob(3, 4)
    assert AUGMENTS["none"](x, generator) is x
    assert torch.equal(generator.get_state(), stream(0, "none").get_state())


def test_affine_shifts_by_up_to_two_pixels_each_way() -> None:
    centre = (SIDE - 1) / 2
    shift = turned(centre, centre) - centre
    farthest = shift.abs().amax(0)
    most = 0.14 * SIDE / 2  # 1.96 pixels, before the image is turned and scaled
    assert (farthest > 0.8 * most).all()
    assert (farthest < most * (math.cos(0.2) + math.sin(0.2)) / 0.88).all()
    assert (shift.mean(0).abs() < 0.2).all()


def test_affine_turns_and_scales_and_does_not_shear() -> None:
    centre = (SIDE - 1) / 2
    middle = turned(centre, centre)
    right, down = turned(centre, centre + 6) - middle, turned(centre + 6, centre) - middle
    length, other = right.norm(dim=1), down.norm(dim=1)
    torch.testing.assert_close(length, other, rtol=0.03, atol=0.0)
    cosine = (right * down).sum(1) / (length * other)
    assert cosine.abs().max() < 0.03  # still at right angles
    scale = length / 6
    assert 1 / 1.12 - 0.02 < scale.min() < 0.92
    assert 1.1 < scale.max() < 1 / 0.88 + 0.02
    angle = torch.atan2(right[:, 0], right[:, 1])
    assert 0.17 < angle.max() < 0.21
    assert -0.21 < angle.min() < -0.17


def test_crop_and_flip_mirrors_half_of_the_images() -> None:
    """A spot left of the middle by 6 stays left, shifted by at most 4, or lands right of it."""
    column = centroid(AUGMENTS["crop-flip"](blob(13, 7), stream(0, "crop")))[:, 1]
    share = (column > (SIDE - 1) / 2).float().mean()
    assert 0.4 < share < 0.6


def test_shift_flip_shifts_by_up_to_two_pixels_and_mirrors_half() -> None:
    place = centroid(AUGMENTS["shift-flip"](blob(13, 7), stream(0, "shift")))
    rows, columns = place[:, 0].round(), place[:, 1].round()
    assert sorted(set(rows.tolist())) == [11.0, 12.0, 13.0, 14.0, 15.0]
    kept, mirrored = columns[columns < 13], columns[columns > 13]
    assert set(kept.tolist()) == {5.0, 6.0, 7.0, 8.0, 9.0}
    assert set(mirrored.tolist()) == {18.0, 19.0, 20.0, 21.0, 22.0}
    assert 0.4 < len(mirrored) / N < 0.6


def test_shift_flip_reflects_at_the_border() -> None:
    """Every row of an image whose rows differ is one of its own rows: no black comes in."""
    x = torch.arange(1.0, 9.0).view(1, 1, 8, 1).expand(64, 1, 8, 8)
    moved = AUGMENTS["shift-flip"](x, stream(0, "shift"))
    assert moved.min() == 1
    firsts = {tuple(image[0, :3, 0].tolist()) for image in moved}
    assert firsts == {(3, 2, 1), (2, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 5)}


def test_cutout_hides_one_square_of_a_quarter_of_the_width() -> None:
    """Seven by seven of 28, at least four by four of it inside; the rest is as `crop-flip`."""
    x = torch.ones(N, 1, SIDE, SIDE)
    seen = AUGMENTS["crop-flip-cutout"](x, stream(0, "cutout"))
    cropped = AUGMENTS["crop-flip"](x, stream(0, "cutout"))
    hidden = (seen == 0.5)[:, 0]
    assert torch.equal(seen[:, 0][~hidden], cropped[:, 0][~hidden])
    rows, columns = hidden.any(2).sum(1), hidden.any(1).sum(1)
    assert torch.equal(hidden.sum((1, 2)), rows * columns)
    assert set(rows.tolist()) == set(columns.tolist()) == {4, 5, 6, 7}
    places = hidden.sum(0)
    assert (places > 0).all()
