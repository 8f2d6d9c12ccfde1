"""Image statistics: by hand, against a slow loop, and their gradients."""

from math import atan2, log, pi

import pytest
import torch
from torch import Tensor

from unlearn.generators.regularisers import (
    BINS,
    REGULARISERS,
    orientation_entropy,
    orientation_histogram,
    total_variation,
    weighted,
)
from unlearn.splits import Dataset
from unlearn.streams import stream


def test_ink_and_contrast_by_hand() -> None:
    x = torch.tensor([0.0, 1.0, 0.5, 0.5]).view(1, 1, 2, 2)
    assert REGULARISERS["ink"](x).tolist() == [0.5]
    assert REGULARISERS["contrast"](x).tolist() == [0.125]


def test_total_variation_by_hand() -> None:
    x = torch.tensor([[0.0, 1.0, 0.0], [0.5, 0.5, 0.5]]).view(1, 1, 2, 3)
    down = (0.5 + 0.5 + 0.5) / 3
    right = (1 + 1 + 0 + 0) / 4
    assert total_variation(x).item() == pytest.approx(down + right)
    assert total_variation(torch.full((1, 3, 5, 4), 0.7)).item() == 0


def slow_histogram(image: Tensor) -> list[float]:
    """Pixel by pixel, in Python numbers: Sobel response, angle in half turns, two nearest bins."""
    bins = [0.0] * BINS
    for i in range(1, image.shape[0] - 1):
        for j in range(1, image.shape[1] - 1):
            p = [[float(image[i + a, j + b]) for b in (-1, 0, 1)] for a in (-1, 0, 1)]
            across = (p[0][2] + 2 * p[1][2] + p[2][2]) - (p[0][0] + 2 * p[1][0] + p[2][0])
            down = (p[2][0] + 2 * p[2][1] + p[2][2]) - (p[0][0] + 2 * p[0][1] + p[0][2])
            place = (atan2(down, across) % pi) / pi * BINS
            low, part = int(place) % BINS, place - int(place)
            size = (across**2 + down**2) ** 0.5
            bins[low] += size * (1 - part)
            bins[(low + 1) % BINS] += size * part
    return bins


def test_orientation_histogram_equals_the_slow_loop_on_real_digits(digits: Dataset) -> None:
    x = digits.test.pixels()[:5].double()
    fast = orientation_histogram(x)
    for image, histogram in zip(x[:, 0], fast, strict=True):
        torch.testing.assert_close(
            histogram, torch.tensor(slow_histogram(image)).double(), rtol=1e-5, atol=0.02
        )


@pytest.mark.parametrize(("turned", "peak"), [(False, 0), (True, BINS // 2)])
def test_stripes_have_one_orientation_and_no_entropy(turned: bool, peak: int) -> None:
    stripes = (torch.arange(20) // 3 % 2).float().expand(20, 20)
    x = (stripes.T if turned else stripes).reshape(1, 1, 20, 20)
    assert orientation_histogram(x)[0].argmax() == peak
    assert orientation_entropy(x).item() == pytest.approx(0, abs=1e-6)


def test_noise_has_every_orientation_and_flat_grey_none() -> None:
    noise = torch.rand(4, 1, 60, 60, generator=stream(0, "noise"))
    assert (orientation_entropy(noise) > 0.98 * log(BINS)).all()
    assert (orientation_entropy(noise) <= log(BINS) + 1e-6).all()
    assert orientation_entropy(torch.full((1, 1, 9, 9), 0.5)).item() == 0


@pytest.mark.parametrize("name", REGULARISERS)
def test_gradients_are_right_and_stay_finite_where_an_image_is_flat(name: str) -> None:
    x = torch.rand(2, 1, 6, 6, generator=stream(1, name), dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(REGULARISERS[name], x, eps=1e-7, atol=1e-4)
    flat = torch.full((1, 1, 6, 6), 0.5, requires_grad=True)
    (gradient,) = torch.autograd.grad(REGULARISERS[name](flat).sum(), flat)
    assert torch.isfinite(gradient).all()


def test_weighted_is_the_sum_of_its_parts(digits: Dataset) -> None:
    x = digits.test.pixels()[:3]
    by_hand = 2 * REGULARISERS["ink"](x) + 0.5 * REGULARISERS["tv"](x)
    torch.testing.assert_close(weighted(x, {"ink": 2.0, "tv": 0.5, "orient": 0.0}), by_hand)
    assert torch.equal(weighted(x, {}), torch.zeros(3))
