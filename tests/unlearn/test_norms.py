"""Running statistics of batch norms, measured anew by hand."""

import pytest
import torch
from torch import nn

from unlearn.errors import BadInput
from unlearn.norms import batch_norms, recalibrate
from unlearn.splits import Images
from unlearn.streams import stream


def four_images() -> Images:
    """One pixel each: 0, 0.2, 0.4 and 1."""
    x = torch.tensor([0, 51, 102, 255], dtype=torch.uint8).view(4, 1, 1, 1)
    return Images(x, torch.zeros(4))


def used_norm() -> nn.BatchNorm2d:
    """A batch norm with statistics of other images and a momentum of its own."""
    norm = nn.BatchNorm2d(1, momentum=0.3)
    norm(torch.full((2, 1, 1, 1), 7.0))
    return norm.eval()


def test_statistics_are_the_plain_mean_over_batches() -> None:
    """Two batches of two: the mean of their means is 0.4, whatever the order."""
    norm = used_norm()
    recalibrate(norm, four_images(), stream(0, "n"), batch=2, batches=2)
    drawn = four_images().batches(2, stream(0, "n"))
    first, second = next(drawn)[0], next(drawn)[0]
    assert norm.running_mean is not None
    assert norm.running_var is not None
    assert norm.running_mean.item() == pytest.approx(0.4)
    mean_variance = (first.var() + second.var()).item() / 2  # over n - 1, as torch does
    assert norm.running_var.item() == pytest.approx(mean_variance)
    assert norm.momentum == 0.3
    assert not norm.training


def test_a_model_without_batch_norms_draws_nothing() -> None:
    generator = stream(0, "n")
    recalibrate(nn.Linear(1, 1), four_images(), generator)
    assert torch.equal(generator.get_state(), stream(0, "n").get_state())


@pytest.mark.parametrize(("batch", "batches"), [(1, 8), (250, 0)])
def test_a_batch_of_one_has_no_variance(batch: int, batches: int) -> None:
    with pytest.raises(BadInput, match=f"at least 2 images, not {batches} of {batch}"):
        recalibrate(used_norm(), four_images(), stream(0, "n"), batch, batches)


def test_only_norms_with_running_statistics_are_named() -> None:
    keeping, forgetting = nn.BatchNorm1d(2), nn.BatchNorm1d(2, track_running_stats=False)
    assert batch_norms(nn.Sequential(keeping, forgetting, nn.LayerNorm(2))) == [keeping]
