"""The label critic: reversed gradients, and what it does to a generator on real digits."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from unlearn.errors import BadInput
from unlearn.generators.critic import LabelCritic
from unlearn.models import build
from unlearn.models.base import Classifying
from unlearn.splits import Dataset
from unlearn.streams import seeded, stream
from unlearn.train import Training, fit


def test_the_critic_descends_and_what_comes_before_it_ascends() -> None:
    critic = LabelCritic(3, 4, weight=5.0)
    z = torch.randn(6, 3, generator=stream(0, "z"), requires_grad=True)
    c = torch.eye(4)[torch.arange(6) % 4]
    loss = critic(z, c).sum()
    plain = F.cross_entropy(critic.classifier(z), c, reduction="sum")
    inputs = [z, *critic.parameters()]
    reversed_z, *ours = torch.autograd.grad(loss, inputs)
    plain_z, *theirs = torch.autograd.grad(plain, inputs)
    assert loss.item() == pytest.approx(plain.item())
    torch.testing.assert_close(reversed_z, -5 * plain_z)
    for our, their in zip(ours, theirs, strict=True):
        torch.testing.assert_close(our, their)


def test_a_critic_that_knows_nothing_loses_ln_classes_per_image() -> None:
    critic = LabelCritic(3, 4, weight=1.0)
    for p in critic.parameters():
        nn.init.zeros_(p)
    loss = critic(torch.ones(2, 3), torch.eye(4)[:2])
    torch.testing.assert_close(loss, torch.tensor([4.0, 4.0]).log())


def label_accuracy_of_latents(model: Any, digits: Dataset) -> float:
    """How often the nearest class mean of the latents is that of the label, on test digits."""
    x, y = digits.test.pixels(), digits.test.y
    with torch.no_grad():
        z, _ = model.encode(x, model.one_hot(y))
    means = torch.stack([z[y == label].mean(0) for label in range(10)])
    return (torch.cdist(z, means).argmin(1) == y).float().mean().item()


def trained(digits: Dataset, weight: float) -> Any:
    with seeded(0, "critic"):
        model = build("cvae-mlp", digits.shape, digits.classes)
    plan = Training(400, 64, 3e-3, label_critic=weight)
    weights, curve = fit(model, digits.train, plan, stream(0, "critic"))
    model.load_state_dict(weights)
    assert curve["loss"][-1] < 200
    return model.eval()


def label_accuracy_of_images(model: Any, grader: Classifying) -> float:
    z, labels = torch.randn(500, 8, generator=stream(0, "z")), torch.arange(500) % 10
    with torch.no_grad():
        seen = grader(model(z, model.one_hot(labels))).argmax(1)
    value: float = (seen == labels).float().mean().item()
    return value


def test_it_hides_the_label_from_the_latent_and_makes_the_decoder_use_it(
    digits: Dataset, grader: Classifying
) -> None:
    without, with_critic = trained(digits, 0.0), trained(digits, 50.0)
    before, after = (label_accuracy_of_latents(m, digits) for m in (without, with_critic))
    assert after < before - 0.1
    before, after = (label_accuracy_of_images(m, grader) for m in (without, with_critic))
    assert after > before + 0.05


def test_no_critic_draws_nothing_and_changes_no_bit(digits: Dataset) -> None:
    model = build("cvae-mlp", digits.shape, digits.classes)
    plain, _ = fit(model, digits.train, Training(2, 16), stream(0, "fit"))
    named, _ = fit(model, digits.train, Training(2, 16, label_critic=0.0), stream(0, "fit"))
    critical, _ = fit(model, digits.train, Training(2, 16, label_critic=9.0), stream(0, "fit"))
    assert all(torch.equal(plain[key], named[key]) for key in plain)
    assert plain.keys() == critical.keys() == model.state_dict().keys()


def test_a_negative_weight_is_refused() -> None:
    with pytest.raises(BadInput, match="label_critic must be at least 0"):
        Training(label_critic=-1.0)
