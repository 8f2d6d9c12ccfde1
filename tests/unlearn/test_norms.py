"""Running statistics of batch norms, measured anew by hand."""

from typing import Any

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


class OwnNorm(nn.modules.batchnorm._BatchNorm):
    """A batch norm that is none of torch's."""

    def _check_input_dim(self, x: torch.Tensor) -> None: ...


@pytest.mark.parametrize("kind", [OwnNorm, nn.SyncBatchNorm])
def test_batch_norms_of_other_classes_are_measured_too(kind: type[nn.BatchNorm2d]) -> None:
    norm, known = kind(1), used_norm()
    for each in (norm, known):
        recalibrate(each, four_images(), stream(0, "n"), batch=2, batches=2)
    assert torch.equal(norm.state_dict()["running_mean"], known.state_dict()["running_mean"])
    assert torch.equal(norm.state_dict()["running_var"], known.state_dict()["running_var"])
    assert norm.running_mean is not None
    assert norm.running_mean.item() == pytest.approx(0.4)


def test_instance_norms_with_running_statistics_are_measured_too() -> None:
    """Images of 2 x 1 pixels, (0, 1) and (.4, .6): means .5, variances .5 and .02 over n - 1."""
    norm = nn.InstanceNorm2d(1, track_running_stats=True, momentum=0.3)
    x = torch.tensor([[0, 255], [102, 153]], dtype=torch.uint8).view(2, 1, 2, 1)
    network = nn.Sequential(nn.Conv2d(1, 1, 1), norm)
    nn.init.ones_(network[0].weight)  # type: ignore[arg-type]
    nn.init.zeros_(network[0].bias)  # type: ignore[arg-type]
    recalibrate(network, Images(x, torch.zeros(2)), stream(0, "n"), batch=2, batches=3)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    assert norm.running_mean.item() == pytest.approx(0.5)
    assert norm.running_var.item() == pytest.approx(0.26)
    assert norm.momentum == 0.3
    assert not norm.training


def test_an_instance_norm_takes_the_plain_mean_over_batches() -> None:
    """One image a batch would be refused, so two equal ones: means .2 and .6, together .4."""
    norm = nn.InstanceNorm2d(1, track_running_stats=True)
    network = nn.Sequential(nn.Conv2d(1, 1, 1), norm)
    nn.init.ones_(network[0].weight)  # type: ignore[arg-type]
    nn.init.zeros_(network[0].bias)  # type: ignore[arg-type]

    class InTurn(Images):
        def batches(self, size: int, generator: torch.Generator) -> Any:
            return iter([(self.pixels()[:2], self.y[:2]), (self.pixels()[2:], self.y[2:])])

        def to(self, device: torch.device | str) -> "InTurn":
            return self

    x = torch.tensor([51, 51, 153, 153], dtype=torch.uint8).view(4, 1, 1, 1).expand(4, 1, 2, 2)
    recalibrate(network, InTurn(x, torch.zeros(4)), stream(0, "n"), batch=2, batches=2)
    assert norm.running_mean is not None
    assert norm.running_mean.item() == pytest.approx(0.4)


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
