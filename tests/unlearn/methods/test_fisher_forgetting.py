"""Fisher forgetting: its noise by hand."""

import pytest
import torch

from tests.unlearn.methods.tiny import two_pixel_splits, two_pixels
from unlearn.fisher.classifiers import classifier_fisher
from unlearn.methods.fisher_forgetting import FisherForgetting, noise_of, whole_classes
from unlearn.splits import Images, Split
from unlearn.streams import stream


def test_the_noise_falls_with_the_fisher() -> None:
    fisher = torch.tensor([1.0, 16.0, 0.0], dtype=torch.double)
    assert noise_of(fisher, 16.0, 0.25, 5.0).tolist() == pytest.approx([2.0, 1.0, 5.0])
    assert noise_of(fisher, 16.0, 0.5, 5.0).tolist() == pytest.approx([4.0, 1.0, 5.0])
    assert noise_of(fisher, 0.0, 0.5, 5.0).tolist() == [0.0, 0.0, 0.0]


def test_the_weights_are_the_original_s_with_that_noise_added() -> None:
    """Retained images light pixel 2 alone, so that pixel 1 gets the largest noise, `most`."""
    model, splits = two_pixels(), two_pixel_splits()
    method = FisherForgetting(alpha=1e-4, most=0.5, reset_head=False)
    found = method(model, splits, stream(0, "f")).weights["head.weight"]

    generator = stream(0, "f")
    fisher = classifier_fisher(model, splits.train.retain, 1000, generator)["head.weight"]
    noise = torch.randn(3, 2, generator=generator)
    spread = (1e-4 / fisher).pow(0.25).clamp(max=0.5)

    # squared gradients (p - e_1)^2 of pixel 2: .01, .04, .01
    torch.testing.assert_close(fisher[:, 1], torch.tensor([0.01, 0.04, 0.01]))
    assert spread[:, 0].tolist() == [0.5] * 3
    assert spread[:, 1].tolist() == pytest.approx([0.01**0.25, 0.0025**0.25, 0.01**0.25])
    torch.testing.assert_close(found, model.head.weight + spread * noise)


def test_rows_of_the_head_are_reset_for_whole_classes_alone() -> None:
    model, splits = two_pixels(), two_pixel_splits()
    found = FisherForgetting(alpha=0.0)(model, splits, stream(0, "f")).weights["head.weight"]
    assert found[0].tolist() == [0.0, 0.0]
    assert torch.equal(found[1:], model.head.weight[1:])
    x = torch.zeros(4, 1, 1, 2, dtype=torch.uint8)
    partly = Split(Images(x[:2], torch.tensor([0, 1])), Images(x[2:], torch.tensor([1, 2])))
    assert whole_classes(partly).tolist() == [0]
