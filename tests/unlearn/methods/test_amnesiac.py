"""Amnesiac unlearning: its labels and its mixture, counted and worked by hand."""

from math import log

import pytest
import torch

from tests.unlearn.methods.tiny import two_pixel_splits, two_pixels
from unlearn.errors import BadInput
from unlearn.methods.amnesiac import Amnesiac, relabelled, wrong_labels
from unlearn.streams import stream


def test_wrong_labels_are_uniform_over_the_kept_classes_without_the_own() -> None:
    kept = torch.tensor([1, 4, 6])
    y = torch.tensor([0, 4, 9]).repeat(3000)
    labels = wrong_labels(y, kept, stream(0, "labels"))
    for own, choices in ((0, [1, 4, 6]), (4, [1, 6]), (9, [1, 4, 6])):
        found, counts = labels[y == own].unique(return_counts=True)
        assert found.tolist() == choices
        share = 3000 / len(choices)
        deviation = (3000 / len(choices) * (1 - 1 / len(choices))) ** 0.5
        assert (counts - share).abs().max() < 4 * deviation


def test_an_image_without_another_class_is_refused() -> None:
    with pytest.raises(BadInput, match="retain at least two classes"):
        wrong_labels(torch.tensor([1, 1]), torch.tensor([1]), stream(0, "labels"))


def test_the_mixture_keeps_retained_labels() -> None:
    images = relabelled(two_pixel_splits(forgotten=3, retained=4), stream(0, "mixed"))
    assert images.y.tolist() == [1] * 4 + [1] * 3  # class 1 is the only one kept
    assert images.x.view(7, 2).tolist() == [[0, 255]] * 4 + [[255, 0]] * 3


def test_the_first_loss_is_that_of_the_mixture() -> None:
    """One forgotten image at p(1) = 1/4, three retained ones at p(1) = .8, in one batch."""
    method = Amnesiac(batch=4, steps=1, epochs=0.0, lr=1e-9)
    splits = two_pixel_splits(forgotten=1, retained=3)
    curve = method(two_pixels(), splits, stream(0, "amnesiac")).curve
    assert curve["mixed"] == pytest.approx([-(log(0.25) + 3 * log(0.8)) / 4], rel=1e-5)
