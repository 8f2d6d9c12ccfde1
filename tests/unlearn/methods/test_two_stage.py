"""Two-stage unlearning: both losses by hand, and how long the first stage is."""

from math import log

import pytest
import torch

from tests.unlearn.methods.tiny import two_pixel_splits, two_pixels
from tests.unlearn.world import World, apply
from unlearn.methods import make_method
from unlearn.methods.two_stage import TwoStage, contrastive_loss, kl_from_uniform
from unlearn.streams import stream

UNIFORM_KL = (log(2) + 2 * log(4)) / 3 - log(3)  # KL(u || p) for p = (1/2, 1/4, 1/4)


def test_the_divergence_from_uniform_by_hand() -> None:
    assert kl_from_uniform(torch.zeros(3, 10)).item() == pytest.approx(0, abs=1e-6)
    p = torch.tensor([[0.5, 0.25, 0.25]])
    assert kl_from_uniform(p.log()).item() == pytest.approx(UNIFORM_KL, abs=1e-6)


def test_the_contrastive_loss_by_hand() -> None:
    """Inner products ln 3 and 0, whose softmax is 3/4 and 1/4; halved, sqrt(3) to 1."""
    z_forget = torch.tensor([[1.0, 0.0]])
    z_retain = torch.tensor([[log(3), 5.0], [0.0, 7.0]])
    loss = contrastive_loss(z_forget, z_retain, 1.0)
    assert loss.item() == pytest.approx((log(4 / 3) + log(4)) / 2, abs=1e-6)
    root = 3**0.5
    softer = contrastive_loss(z_forget, z_retain, 2.0)
    assert softer.item() == pytest.approx((log((root + 1) / root) + log(root + 1)) / 2, abs=1e-6)


def test_the_contrastive_loss_equals_a_slow_loop_and_moves_forgotten_logits_alone() -> None:
    z_f = torch.randn(2, 3, generator=stream(0, "")).requires_grad_()
    z_r = torch.randn(4, 3, generator=stream(1, "")).requires_grad_()
    slow = []
    for row in z_f:
        similarities = torch.stack([row @ other for other in z_r])
        slow.append(-torch.log_softmax(similarities / 2, 0).mean())
    loss = contrastive_loss(z_f, z_r, 2.0)
    assert loss.item() == pytest.approx(torch.stack(slow).mean().item(), abs=1e-5)
    loss.backward()
    assert z_f.grad is not None
    assert z_r.grad is None


def test_the_first_losses_of_both_stages_by_hand() -> None:
    """With so small a rate that no weight moves. The second stage's inner product is the same for
    every retained image, so that its softmax over two of them is 1/2."""
    method = make_method("two-stage", {"steps": 1, "batch": 2, "lr": 1e-12})
    curve = method(two_pixels(), two_pixel_splits(), stream(0, "two")).curve
    assert curve["forget"] == pytest.approx([UNIFORM_KL, log(2)], abs=1e-6)
    assert curve["retain"] == pytest.approx([0, log(1.25)], abs=1e-6)
    assert curve["step"] == [1.0, 2.0]


@pytest.mark.parametrize(("images", "steps"), [(1, 1), (2, 1), (3, 1), (4, 2), (5, 2)])
def test_the_first_stage_is_one_pass_in_whole_batches_or_one_batch(images: int, steps: int) -> None:
    assert TwoStage(batch=2).first_steps(images) == steps
    assert TwoStage(batch=2, reading="one-batch").first_steps(images) == 1


def test_the_reading_decides_the_length_of_the_first_stage(one: World) -> None:
    full = apply("two-stage", {"steps": 4}, one)
    one_batch = apply("two-stage", {"steps": 4, "reading": "one-batch"}, one)
    batches = len(one.splits.train.forget) // 64
    assert full.curve["step"] == [float(i) for i in range(1, batches + 5)]
    assert one_batch.curve["step"] == [1.0, 2.0, 3.0, 4.0, 5.0]
    assert one_batch.curve["retain"][0] == 0
    assert min(one_batch.curve["retain"][1:]) > 0
