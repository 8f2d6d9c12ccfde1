"""Out-of-distribution inputs: every kind has the range that its docstring states."""

from math import sqrt

import pytest
import torch

from tests.unlearn.methods.tiny import GreyGenerator
from unlearn.generators.ood import (
    RADIUS_MARGIN,
    far_latents,
    mixed_labels,
    off_simplex_labels,
    ood_inputs,
    wide_latents,
)
from unlearn.models.base import Generative
from unlearn.splits import Splits
from unlearn.streams import stream

N = 4000


def test_a_third_of_the_inputs_is_of_each_kind(original: Generative, splits: Splits) -> None:
    z, c = ood_inputs(original, splits.train.retain.y.unique(), 300, stream(0, "strange"))
    assert z.shape == (300, original.z_dim)
    mixed, off_simplex, far = c[:100], c[100:200], c[200:]
    torch.testing.assert_close(mixed.sum(1), torch.ones(100))
    assert (mixed >= 0).all()
    assert (mixed.amax(1) < 1).all()
    assert (off_simplex < 0).any(1).all()
    assert set(far.argmax(1).tolist()) <= set(range(1, 10))
    assert (far.sum(1) == 1).all()
    assert (z[200:].norm(dim=1) > sqrt(original.z_dim) + RADIUS_MARGIN - 1e-4).all()
    assert z[:200].norm(dim=1).mean() > sqrt(original.z_dim)


@pytest.mark.parametrize(("n", "kept"), [(3, 1), (4, 1), (5, 1), (6, 2)])
def test_what_is_left_over_goes_to_labels_off_the_simplex(n: int, kept: int) -> None:
    z, c = ood_inputs(GreyGenerator(), torch.tensor([1]), n, stream(0, "few"))
    assert len(z) == len(c) == n
    assert (c[-kept:] == torch.tensor([0.0, 1.0, 0.0])).all()
    assert (c == torch.tensor([0.0, 1.0, 0.0])).all(1).sum() == kept


def test_mixed_labels_lean_towards_every_class_by_up_to_nine_tenths() -> None:
    """The weight w of the one-hot label is uniform in [0, 0.9]: E w^2 = 0.27, E (1 - w)^2 = 0.37.
    A share of a one-hot label has variance 2/9, one of a draw from the simplex 1/18."""
    labels = mixed_labels(GreyGenerator(), N, stream(0, "mixed"))
    assert labels.mean(0).tolist() == pytest.approx([1 / 3] * 3, abs=0.02)
    variance = 0.27 * 2 / 9 + 0.37 / 18
    assert labels.var(0).tolist() == pytest.approx([variance] * 3, rel=0.06)


def test_labels_off_the_simplex_are_up_to_two_wide() -> None:
    """The mean of s^2 over [0.2, 2] is (8 - 0.008) / (3 * 1.8) = 1.48."""
    labels = off_simplex_labels(5, N, stream(0, "off"))
    assert labels.mean().item() == pytest.approx(0, abs=0.05)
    assert labels.square().mean().item() == pytest.approx(1.48, rel=0.06)


def test_wide_latents_are_up_to_three_times_the_prior() -> None:
    """The mean of s^2 over [0.5, 3] is (27 - 0.125) / (3 * 2.5) = 3.583."""
    z = wide_latents(8, N, stream(0, "wide"))
    assert z.mean().item() == pytest.approx(0, abs=0.05)
    assert z.square().mean().item() == pytest.approx(3.583, rel=0.06)


def test_far_latents_lie_between_one_and_three_radii() -> None:
    radius = sqrt(8) + RADIUS_MARGIN
    z = far_latents(8, N, stream(0, "far"))
    norms = z.norm(dim=1) / radius
    assert norms.min().item() == pytest.approx(1, abs=0.01)
    assert norms.max().item() == pytest.approx(3, abs=0.01)
    assert norms.mean().item() == pytest.approx(2, abs=0.05)
    assert z.mean(0).abs().max() < 0.05 * radius


def test_few_latents_of_the_prior_lie_beyond_the_radius() -> None:
    z = torch.randn(200_000, 8, generator=stream(0, "prior"))
    beyond = (z.norm(dim=1) > sqrt(8) + RADIUS_MARGIN).double().mean().item()
    assert beyond == pytest.approx(0.0004, abs=0.0002)
