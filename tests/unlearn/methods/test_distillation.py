"""SCRUB and the bad teacher: their divergences and weights by hand."""

from math import log

import pytest
import torch
from torch import Tensor

from tests.unlearn.methods.tiny import FORGOTTEN, RETAINED, two_pixel_splits, two_pixels
from tests.unlearn.world import World
from unlearn.methods import make_method
from unlearn.methods.iterative import training_copy
from unlearn.methods.scrub import Scrub, distillation_loss
from unlearn.models.fresh import fresh
from unlearn.streams import stream

THIRD = (1 / 3, 1 / 3, 1 / 3)


def kl(p: tuple[float, ...], q: tuple[float, ...]) -> float:
    return sum(a * log(a / b) for a, b in zip(p, q, strict=True))


def softened(p: tuple[float, ...], temperature: float) -> tuple[float, ...]:
    powers = [a ** (1 / temperature) for a in p]
    return tuple(a / sum(powers) for a in powers)


def logits(p: tuple[float, ...]) -> Tensor:
    return torch.tensor([p]).log()


def test_distillation_is_the_divergence_of_the_student_from_the_teacher() -> None:
    teacher, student = (0.2, 0.3, 0.5), (0.5, 0.25, 0.25)
    plain = distillation_loss(logits(student), logits(teacher), 1.0)
    assert plain.item() == pytest.approx(kl(teacher, student), abs=1e-6)
    soft = distillation_loss(logits(student), logits(teacher), 4.0)
    by_hand = 16 * kl(softened(teacher, 4.0), softened(student, 4.0))
    assert soft.item() == pytest.approx(by_hand, abs=1e-5)
    assert distillation_loss(logits(teacher), logits(teacher), 4.0).item() == pytest.approx(
        0, abs=1e-6
    )


def test_scrubs_losses_by_hand() -> None:
    """A student that answers 1/3 to everything; one forgotten image for two retained ones."""
    method = Scrub(steps=3, msteps=2, batch=2, alpha=0.5, gamma=3.0, ascent=4.0)
    student, splits = two_pixels(THIRD, THIRD), two_pixel_splits(forgotten=1, retained=2)
    losses = method.loss_terms(student, two_pixels(), splits, stream(0, "scrub"))
    found = [{name: loss.item() for name, loss in losses().items()} for _ in range(3)]
    repair = {"distill": 0.5 * kl(RETAINED, THIRD), "retain": 3 * log(3)}
    climb = -4 * (1 / 2) * kl(FORGOTTEN, THIRD)
    assert found[0] == pytest.approx({"forget": climb, **repair}, abs=1e-6)
    assert found[1] == pytest.approx({"forget": climb, **repair}, abs=1e-6)
    assert found[2] == pytest.approx({"forget": 0, **repair}, abs=1e-6)


def test_scrub_alternates_epochs_as_its_authors_do() -> None:
    """One batch of forgotten images, then two of retained ones; ascent may last five steps."""
    method = Scrub(steps=9, msteps=5, batch=2, alpha=0.5, gamma=3.0, ascent=4.0, alternate=True)
    student, splits = two_pixels(THIRD, THIRD), two_pixel_splits(forgotten=1, retained=4)
    losses = method.loss_terms(student, two_pixels(), splits, stream(0, "scrub"))
    found = [{name: loss.item() for name, loss in losses().items()} for _ in range(9)]
    climb = {"forget": -4 * kl(FORGOTTEN, THIRD), "distill": 0, "retain": 0}
    repair = {"forget": 0, "distill": 0.5 * kl(RETAINED, THIRD), "retain": 3 * log(3)}
    for step, terms in enumerate(found):
        assert terms == pytest.approx(climb if step in (0, 3) else repair, abs=1e-6)


def climb_of(world: World, ascent: float) -> float:
    student = training_copy(world.model)
    with torch.no_grad():
        student.head.weight.mul_(0.5)
    losses = Scrub(ascent=ascent).loss_terms(student, world.model, world.splits, stream(0, "scrub"))
    return losses()["forget"].item()


def test_scrubs_ascent_is_weighted_by_the_share_of_forgotten_images(one: World) -> None:
    """An epoch of forgotten images has N_f / N_r times as many batches as one of retained images;
    the paper's objective sets a mean beside a mean."""
    share = len(one.splits.train.forget) / len(one.splits.train.retain)
    epochs, authors, objective = (climb_of(one, ascent) for ascent in (1.0, 4.0, 1 / share))
    assert objective < -0.01
    assert epochs == pytest.approx(share * objective)
    assert authors == pytest.approx(4 * share * objective)


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_the_bad_teachers_first_losses(temperature: float) -> None:
    """The student starts as the original: nothing to learn from that, but from the random network,
    whose answers to the first pixel are the first column of its weights."""
    model = two_pixels()
    method = make_method("bad-teacher", {"steps": 1, "batch": 2, "temperature": temperature})
    curve = method(model, two_pixel_splits(), stream(0, "bad")).curve
    random = fresh(model, stream(0, "bad")).head.weight[:, 0].softmax(0).tolist()
    soft_random, soft_student = softened(random, temperature), softened(FORGOTTEN, temperature)
    wanted = temperature**2 * kl(soft_random, soft_student)
    assert curve["forget"][0] == pytest.approx(wanted, abs=1e-6)
    assert curve["retain"][0] == pytest.approx(0, abs=1e-6)
