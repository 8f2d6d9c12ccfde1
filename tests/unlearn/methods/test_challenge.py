"""The two best of the NeurIPS 2023 challenge: which kernels change, by hand."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.unlearn.methods.tiny import two_pixel_splits, two_pixels
from tests.unlearn.world import World, apply
from unlearn.methods import make_method
from unlearn.methods.convolution_transpose import transpose_kernels
from unlearn.methods.masked_small_gradients import agreeing, damp, redraw, smallest
from unlearn.streams import stream
from unlearn.train import snapshot


def convolutions() -> nn.Sequential:
    """A square kernel, one that is not, one of one pixel, and a frozen one."""
    layers = [nn.Conv2d(1, 1, (2, 2)), nn.Conv2d(1, 1, (1, 2)), nn.Conv2d(1, 1, 1)]
    frozen = nn.Conv2d(1, 1, (2, 2)).requires_grad_(False)
    return nn.Sequential(*layers, frozen)


def test_a_square_kernel_is_turned_over_and_no_other() -> None:
    model = convolutions()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    model.get_parameter("0.weight").data.copy_(torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]]))
    transpose_kernels(model)
    assert model.get_parameter("0.weight").tolist() == [[[[1.0, 3.0], [2.0, 4.0]]]]
    for name in ("0.bias", "1.weight", "2.weight", "3.weight"):
        assert torch.equal(model.get_parameter(name), before[name]), name


def test_turning_kernels_over_turns_the_answers_over() -> None:
    """A convolution with turned kernels of a turned image is the turned convolution."""
    conv = nn.Conv2d(2, 3, 3, padding=1)
    x = torch.randn(4, 2, 5, 5, generator=stream(0, "x"))
    wanted = conv(x.transpose(2, 3)).transpose(2, 3)
    transpose_kernels(conv)
    torch.testing.assert_close(conv(x), wanted)


def test_the_smallest_are_marked() -> None:
    values = torch.tensor([[5.0, 1.0], [3.0, 2.0]])
    assert smallest(values, 0.5).tolist() == [[False, True], [False, True]]
    assert not smallest(values, 0.0).any()
    assert smallest(values, 1.0).all()
    assert smallest(torch.zeros(10), 0.3).sum() == 3


class OnePixelKernel(nn.Module):
    """A kernel of one pixel and two inputs: its four entries are the weights of three logits."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 3, 1, bias=False)

    def forward(self, x: Any) -> Any:
        return self.conv(x.view(len(x), 2, 1, 1)).flatten(1)


def test_entries_where_forgotten_and_retained_images_agree_by_hand() -> None:
    """Pixel 0 is on in forgotten images alone, pixel 1 in retained ones alone, so the gradients are
    (p_f - e_0) on the weights of pixel 0 and (p_r - e_1) on those of pixel 1."""
    model = OnePixelKernel()
    logits = torch.tensor([[0.5, 0.2, 0.3], [0.1, 0.6, 0.3]]).log().T
    model.conv.weight.data.copy_(logits.view(3, 2, 1, 1))
    # |g|: forgotten .5, .2, .3 and retained .1, .4, .3; the two smallest are .1 and .2.
    masks = agreeing(model, two_pixel_splits(), 2 / 6, stream(0, "some"))
    marked = masks["conv.weight"].view(3, 2)
    assert marked.nonzero().tolist() == [[0, 1], [1, 0]]


def test_drawn_entries_have_he_s_variance_and_the_others_their_bits() -> None:
    conv = nn.Conv2d(8, 64, 3)
    before = conv.weight.detach().clone()
    mask = torch.rand(before.shape, generator=stream(0, "mask")) < 0.5
    redraw(conv, {"weight": mask}, stream(0, "redraw"))
    assert torch.equal(conv.weight[~mask], before[~mask])
    assert conv.weight[mask].std().item() == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.05)


def test_gradients_of_unmarked_entries_are_damped() -> None:
    conv = nn.Conv2d(1, 1, (1, 2), bias=False)
    F.mse_loss(conv(torch.ones(1, 1, 1, 2)), torch.full((1, 1, 1, 1), 9.0)).backward()
    assert conv.weight.grad is not None
    before = conv.weight.grad.clone()
    damp(conv, {"weight": torch.tensor([[[[True, False]]]])}, 0.1)()
    factors = (conv.weight.grad / before).flatten()
    torch.testing.assert_close(factors, torch.tensor([1.0, 0.1]))


def test_nothing_is_drawn_anew_at_rate_zero(one: World) -> None:
    """Then it is fine-tuning whose kernels move at a tenth of their gradient."""
    knobs = {"rate": 0.0, "damping": 0.0, "epochs": 0.0, "steps": 3, "batch": 16}
    still = apply("masked-small-gradients", {**knobs, "weight_decay": 0.0}, one).weights
    before = snapshot(one.model)
    assert torch.equal(still["conv1.weight"], before["conv1.weight"])
    assert not torch.equal(still["head.weight"], before["head.weight"])


def test_no_forgotten_image_is_read_by_the_transpose(one: World) -> None:
    splits = two_pixel_splits()
    method = make_method("convolution-transpose", {"epochs": 0.0, "steps": 2, "batch": 2})
    first = method(two_pixels(), splits, stream(0, "ct")).weights
    splits.train.forget.x.fill_(77)
    second = method(two_pixels(), splits, stream(0, "ct")).weights
    assert torch.equal(first["head.weight"], second["head.weight"])
