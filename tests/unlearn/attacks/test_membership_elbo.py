"""Membership by ELBO on planted generators."""

from typing import Any

import pytest
import torch

from tests.unlearn.attacks.quick import quick
from tests.unlearn.methods.tiny import BRIGHT_LOSSES, GreyGenerator, bright_generator
from unlearn.attacks.generators.base import Context
from unlearn.attacks.generators.membership_elbo import MembershipElbo
from unlearn.models.base import Generative
from unlearn.splits import Images, Split, Splits
from unlearn.streams import stream


def planted(members: int, strangers: int) -> Any:
    """Ten forgotten images of one grey value each to train on, and ten to test on."""

    def part(value: int) -> Split:
        x = torch.full((10, 1, 2, 2), value, dtype=torch.uint8)
        return Split(Images(x, torch.zeros(10).long()), Images(x, torch.ones(10).long()))

    train, test = part(members), part(strangers)
    attacker: Any = torch.nn.Identity()
    grader: Any = torch.nn.Identity()
    return Context(GreyGenerator(), attacker, grader, Splits(train, test, test), (0,))


def rate(model: Generative, members: int, strangers: int, **knobs: Any) -> float:
    attack = MembershipElbo(**knobs)
    return attack.recover(model, planted(members, strangers), stream(0, "elbo")).rate


def test_images_that_are_explained_better_than_unseen_ones_are_found() -> None:
    """A generator that draws bright images explains white ones best, black ones worst."""
    assert rate(bright_generator(), 255, 0) == 1
    assert rate(bright_generator(), 0, 255) == 0


def test_a_generator_that_explains_all_alike_gives_nothing_away() -> None:
    assert rate(GreyGenerator(), 255, 0) == 0  # strictly above is needed
    assert rate(bright_generator(), 128, 128) == 0


def test_the_elbo_is_the_mean_over_draws() -> None:
    images = planted(128, 0).splits.train.forget
    found = MembershipElbo(draws=3).bounds(bright_generator(), images, stream(0, "elbo"))
    grey = 128 / 255
    expected = -(BRIGHT_LOSSES["grey"] + 4 * 2 * (0.5 - grey))
    assert found.tolist() == pytest.approx([expected] * 10, rel=1e-5)


def test_the_oracle_reads_about_the_false_positives(oracle: Generative, context: Context) -> None:
    """A label that the oracle never saw; its training images are no nearer than its test images."""
    attack = quick("membership-elbo", images=400, draws=4)
    assert isinstance(attack, MembershipElbo)
    found = attack.recover(oracle, context, stream(0, "elbo"))
    assert found.trials == len(context.splits.train.forget)
    assert found.rate < 0.12
    assert found.pictures.shape == (1, 8, 1, 28, 28)
