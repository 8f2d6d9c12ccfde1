"""Attacks on generators: what they must find in real ones, and the parts they are made of."""

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.unlearn.attacks.quick import quick
from unlearn.attacks import attacks_on
from unlearn.attacks.generators.base import (
    Context,
    GeneratorAttack,
    Recovery,
    grade_favourites,
    grade_images,
)
from unlearn.attacks.generators.intervals import difference, wilson
from unlearn.attacks.generators.optimise import minimise
from unlearn.attacks.generators.prototype import Prototype, sharpness
from unlearn.attacks.generators.relearn import shots
from unlearn.attacks.generators.walks import leg
from unlearn.errors import BadInput
from unlearn.models.base import Classifying, Generative
from unlearn.splits import Dataset, Images, Splits
from unlearn.streams import stream

Outcomes = dict[tuple[str, str], Recovery]  # by attack and subject


def test_images_of_one_label_count_as_one_try() -> None:
    apart, together = Recovery(48, 64, torch.empty(0)), Recovery(48, 64, torch.empty(0), shared=16)
    assert apart.rate == together.rate == 0.75
    assert together.interval == wilson(3, 4)
    assert apart.interval == wilson(48, 64)
    assert together.above(together) == difference(3, 4, 3, 4)


# Attacks without a search. `deceptive-label` finds nothing where the latent hides the label.
FINDERS = ["random-z", "noisy-label", "double-interpolation", "triangular-walk", "transplant"]


def attack_of(name: str, **knobs: Any) -> GeneratorAttack:
    attack = quick(name, **knobs)
    assert isinstance(attack, GeneratorAttack)
    return attack


def recover(
    name: str, subject: Generative, context: Context, purpose: str | None = None, **knobs: Any
) -> Recovery:
    return attack_of(name, **knobs).recover(subject, context, stream(0, purpose or name))


@pytest.fixture(scope="module")
def outcomes(original: Generative, untrained: Generative, context: Context) -> Outcomes:
    subjects = {"original": original, "untrained": untrained}
    return {
        (name, of): recover(name, subject, context)
        for name in attacks_on("generator")
        for of, subject in subjects.items()
    }


@pytest.mark.parametrize("of", ["original", "untrained"])
@pytest.mark.parametrize("name", attacks_on("generator"))
def test_an_attack_gives_a_rate_an_interval_and_a_picture(
    name: str, of: str, outcomes: Outcomes, original: Generative
) -> None:
    outcome = outcomes[name, of]
    low, high = outcome.interval
    assert 0 <= low <= outcome.rate <= high <= 1
    assert low < high
    assert outcome.pictures.dtype == torch.uint8
    assert outcome.pictures.dim() == 5
    assert outcome.pictures.shape[2:] == original.shape
    assert len(outcome.pictures.unique()) > 1


@pytest.mark.parametrize("name", FINDERS)
def test_the_original_gives_the_class_away_and_an_untrained_decoder_cannot(
    name: str, outcomes: Outcomes
) -> None:
    found, nothing = outcomes[name, "original"], outcomes[name, "untrained"]
    assert found.interval[0] > 0.5
    assert nothing.hits == 0


@pytest.mark.parametrize("name", ["latent-label", "label-only", "prototype"])
def test_optimisation_finds_the_class_in_the_original_only(
    name: str, original: Generative, untrained: Generative, context: Context
) -> None:
    longer = replace(context, effort=0.12)
    attack = attack_of(name)
    assert attack.recover(original, longer, stream(1, name)).rate > 0.4
    assert attack.recover(untrained, longer, stream(1, name)).hits == 0


def test_a_few_images_bring_the_class_back_into_the_oracle(
    oracle: Generative, context: Context
) -> None:
    longer = replace(context, effort=0.3)
    back = recover("relearn-100", oracle, longer, "relearn")
    assert back.reached
    assert back.steps is not None
    assert back.steps <= 60
    asked = recover("random-z", oracle, context, "ask")
    assert asked.rate < 0.3 < back.rate
    never = recover("relearn-kept", oracle, context, "relearn")
    assert (never.steps, never.reached) == (None, False)


def test_several_forgotten_classes_are_all_asked_for(
    original: Generative, context: Context, digits: Dataset
) -> None:
    both = replace(context, splits=digits.split([0, 3]), forget=(0, 3))
    assert both.wanted(5, torch.device("cpu")).tolist() == [0, 3, 0, 3, 0]
    assert recover("random-z", original, both, "both").rate > 0.5
    assert recover("prototype", original, both, "both", restarts=13).trials == 13


def test_restarts_are_independent_and_reach_the_minimum() -> None:
    aims = torch.tensor([[1.0, -2.0], [3.0, 0.5]])

    def run(rows: list[int]) -> Tensor:
        x = torch.zeros(len(rows), 2)
        minimise({x: 0.1}, lambda: (x - aims[rows]).square().sum(1), 400, [])
        return x

    together = run([0, 1])
    torch.testing.assert_close(together, aims, atol=1e-3, rtol=0)
    assert torch.equal(together[1:], run([1]))
    assert not together.requires_grad


def test_walks_start_and_end_where_they_should() -> None:
    start, end = torch.zeros(2, 3), torch.tensor([[1.0, 2.0, 3.0], [4.0, 4.0, 4.0]])
    path = leg(start, end, 5)
    assert path.shape == (2, 5, 3)
    torch.testing.assert_close(path[:, 0], start)
    torch.testing.assert_close(path[:, -1], end)
    torch.testing.assert_close(path[:, 2], end / 2)


class SeesZero(nn.Module):
    """A judge that reads bright images as a 0 and dark ones as a 1; the reverse at `sign` -1."""

    def __init__(self, sign: int) -> None:
        super().__init__()
        self.sign = sign

    def features(self, x: Tensor) -> Tensor:
        return self.sign * (x.flatten(1).mean(1, keepdim=True) - 0.5)

    def head(self, features: Tensor) -> Tensor:
        return torch.cat([features, -features], 1)


def test_the_attacker_chooses_by_its_own_judge_and_the_grader_counts(context: Context) -> None:
    one: Any = SeesZero(1)
    other: Any = SeesZero(-1)
    at_odds = replace(context, attacker=one, grader=other)
    dark, bright, wanted = (
        torch.zeros(3, 1, 28, 28),
        torch.ones(3, 1, 28, 28),
        torch.zeros(3, dtype=torch.long),
    )
    assert grade_favourites(at_odds, torch.stack([dark, bright], 1), wanted).hits == 0
    assert (
        grade_images(at_odds, dark, wanted).hits,
        grade_images(at_odds, bright, wanted).hits,
    ) == (3, 0)


def test_images_of_one_optimised_label_count_together(outcomes: Outcomes) -> None:
    assert {outcomes["label-only", of].shared for of in ("original", "untrained")} == {16}
    assert {outcomes[name, "original"].shared for name in FINDERS} == {1}


def test_another_forgotten_class_counts_where_any_does(
    original: Generative, context: Context, digits: Dataset
) -> None:
    """The images of 3s and 0s, when 0s and 3s were wanted: swapped, and both still there."""
    own = replace(context, splits=digits.split([0, 3]), forget=(0, 3))
    test = digits.test.take(torch.isin(digits.test.y, torch.tensor([0, 3])))
    swapped = 3 - test.y
    assert own.graded(test.pixels(), swapped).float().mean() < 0.1
    either = replace(own, any_forgotten=True)
    assert either.graded(test.pixels(), swapped).float().mean() > 0.9


def test_one_judge_cannot_attack_and_grade(context: Context) -> None:
    with pytest.raises(BadInput, match="the same judge"):
        replace(context, grader=context.attacker)


def test_a_context_refuses_nothing_to_do(context: Context) -> None:
    with pytest.raises(BadInput, match="effort"):
        replace(context, effort=0)


@pytest.mark.parametrize(("name", "knob"), [("random-z", "trials"), ("latent-label", "restarts")])
def test_an_attack_refuses_nothing_to_do(name: str, knob: str) -> None:
    with pytest.raises(BadInput, match=knob):
        quick(name, **{knob: 0})


def test_prototypes_are_the_sharpest_and_shots_are_few(
    original: Generative, splits: Splits
) -> None:
    owned = Prototype().owned(original, 0, stream(0, "p"))
    z = torch.randn(64, original.z_dim, generator=stream(1, "p"))
    with torch.no_grad():
        any_zero = original(z, original.one_hot(torch.zeros(64, dtype=torch.long)))
    assert sharpness(owned).min() > sharpness(any_zero).mean()
    assert sharpness(torch.full((1, 1, 8, 8), 0.3)).item() == pytest.approx(0, abs=1e-12)
    few = shots(splits.train.forget, 3, 64, stream(0, "shots"))
    assert len(few) >= 64
    assert len(few.x.flatten(1).unique(dim=0)) == 3


@pytest.mark.parametrize("name", ["random-z", "transplant"])
def test_only_the_original_is_above_the_oracle(
    outcomes: Outcomes, oracle: Generative, context: Context, name: str
) -> None:
    unseen = recover(name, oracle, context)
    low, high = outcomes[name, "original"].above(unseen)
    assert 0 < low < outcomes[name, "original"].rate - unseen.rate <= high
    assert outcomes[name, "untrained"].above(unseen)[0] <= 0
    low, high = unseen.above(unseen)
    assert low <= 0 <= high


def test_a_class_without_test_images_is_an_error(
    original: Generative, context: Context, splits: Splits
) -> None:
    empty = copy.deepcopy(splits.test)
    gone = replace(empty, forget=Images(empty.forget.x[:0], empty.forget.y[:0]))
    with pytest.raises(BadInput, match="no test images of class 0"):
        recover("transplant", original, replace(context, splits=replace(splits, test=gone)))


def test_a_context_is_checked(
    original: Generative, attacker: Classifying, grader: Classifying, splits: Splits
) -> None:
    with pytest.raises(BadInput, match="does not exist"):
        Context(original, attacker, grader, splits, (11,))
