"""Forgetting in rounds: where each round starts, what it forgets, and which Fisher it takes."""

from typing import Any

import pytest
import torch

from unlearn.errors import BadInput
from unlearn.fisher.generators import generator_fisher
from unlearn.methods import make_method, sequential_amnesia
from unlearn.methods.base import join_curves
from unlearn.methods.rounds import forget_in_rounds, round_splits
from unlearn.methods.sequential_amnesia import SequentialAmnesia, undivided
from unlearn.models import Weights, build
from unlearn.models.base import Classifying, Generative
from unlearn.splits import Dataset, Splits
from unlearn.streams import stream
from unlearn.train import snapshot

METHOD = make_method("selective-amnesia", {"steps": 6, "batch": 8})
ROUNDS = [[0], [1], [2]]


class RecordingFisher:
    """A Fisher that records the weights that it was asked about."""

    def __init__(self) -> None:
        self.asked: list[Weights] = []

    def __call__(self, model: Any) -> Weights:
        self.asked.append(snapshot(model))
        return generator_fisher(model, 40, stream(0, "fisher"))


def same(one: Weights, other: Weights) -> bool:
    return all(torch.equal(one[key], tensor) for key, tensor in other.items())


@pytest.mark.parametrize(("recompute", "times"), [(True, 3), (False, 1)])
def test_the_fisher_is_recomputed_or_kept_as_declared(
    recompute: bool, times: int, original: Generative, digits: Dataset
) -> None:
    fisher, before = RecordingFisher(), snapshot(original)
    last, rounds = forget_in_rounds(
        original, digits, ROUNDS, METHOD, stream(0, "t"), fisher, recompute=recompute
    )
    assert len(fisher.asked) == times
    assert same(fisher.asked[0], before)
    assert same(original.state_dict(), before)
    assert same(last.weights, rounds[-1].unlearned.weights)
    for number in range(1, times):
        assert same(fisher.asked[number], rounds[number - 1].unlearned.weights)


def test_rounds_say_what_they_forgot(original: Generative, digits: Dataset) -> None:
    fisher = generator_fisher(original, 40, stream(0, "fisher"))
    _, rounds = forget_in_rounds(
        original, digits, [[0], [1, 5], [2]], METHOD, stream(0, "t"), lambda model: fisher
    )
    said = [(each.forget, each.earlier) for each in rounds]
    assert said == [((0,), ()), ((1, 5), (0,)), ((2,), (0, 1, 5))]


def test_one_round_is_the_method_itself(
    original: Generative, digits: Dataset, splits: Splits
) -> None:
    fisher = generator_fisher(original, 40, stream(0, "fisher"))
    alone = METHOD(original, splits, stream(3, "t"), fisher=fisher)
    in_rounds, _ = forget_in_rounds(
        original, digits, [[0]], METHOD, stream(3, "t"), lambda model: fisher
    )
    assert same(in_rounds.weights, alone.weights)
    assert in_rounds.curve == alone.curve


def test_earlier_classes_are_forgotten_again_or_left_out(digits: Dataset) -> None:
    again, out = (round_splits(digits, [3], [0, 1], again) for again in (True, False))
    assert again.train.forget.y.unique().tolist() == [0, 1, 3]
    assert out.train.forget.y.unique().tolist() == [3]
    for splits in (again, out):
        for part in (splits.train, splits.val, splits.test):
            assert part.retain.y.unique().tolist() == [2, 4, 5, 6, 7, 8, 9]


def test_undivided_splits_are_the_data_set_in_another_order(digits: Dataset) -> None:
    dataset = undivided(digits.split([0, 7]), digits.classes)
    assert dataset.classes == digits.classes
    for whole, given in (
        (dataset.train, digits.train),
        (dataset.val, digits.val),
        (dataset.test, digits.test),
    ):
        assert whole.y.bincount().tolist() == given.y.bincount().tolist()
        for label in range(digits.classes):
            assert torch.equal(whole.x[whole.y == label], given.x[given.y == label])


def test_sequential_amnesia_forgets_one_class_per_round(
    original: Generative, digits: Dataset, fisher: Weights
) -> None:
    """Two rounds of six steps, in ascending order, are six steps and six steps more."""
    method = SequentialAmnesia(steps=6, batch=8, recompute=False, again=False)
    splits = digits.split([4, 2])
    made = method(original, splits, stream(1, "t"), fisher=fisher)
    by_hand, _ = forget_in_rounds(
        original,
        undivided(splits, digits.classes),
        [[2], [4]],
        METHOD,
        stream(1, "t"),
        lambda model: fisher,
        recompute=False,
        again=False,
    )
    assert same(made.weights, by_hand.weights)
    assert made.curve["step"] == [float(step) for step in range(1, 13)]


def test_sequential_amnesia_estimates_the_fisher_of_every_start(
    original: Generative, digits: Dataset, fisher: Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, Weights]] = []

    def recording_fisher(model: Any, samples: int, generator: torch.Generator) -> Weights:
        asked.append((samples, snapshot(model)))
        return fisher

    monkeypatch.setattr(sequential_amnesia, "generator_fisher", recording_fisher)
    method = SequentialAmnesia(steps=2, batch=8, fisher_of=77)
    method(original, digits.split([2, 4]), stream(1, "t"), fisher={})
    (first, original_weights), (second, later_weights) = asked
    assert first == second == 77
    assert same(original_weights, snapshot(original))
    assert not same(later_weights, original_weights)


def test_forgetting_again_holds_earlier_amnesia_on_real_digits(
    original: Generative, digits: Dataset, grader: Classifying, fisher: Weights
) -> None:
    method = make_method("selective-amnesia", {"steps": 250, "batch": 48})
    last, _ = forget_in_rounds(
        original, digits, [[0], [7]], method, stream(0, "two"), lambda model: fisher
    )
    model = build("cvae-mlp", original.shape, original.classes, last.weights)
    z, labels = torch.randn(200, model.z_dim, generator=stream(0, "z")), torch.arange(200) % 10
    with torch.no_grad():
        seen = grader(model(z, model.one_hot(labels))).argmax(1)
    right = (seen == labels).float()
    forgotten = torch.isin(labels, torch.tensor([0, 7]))
    assert right[forgotten].mean() < 0.2
    assert right[~forgotten].mean() > 0.6


def test_curves_are_joined_end_to_end() -> None:
    one = {"step": [1.0, 4.0], "a": [9.0, 8.0]}
    two = {"step": [1.0, 5.0], "a": [7.0, 6.0]}
    three = {"step": [2.0], "a": [5.0]}
    joined = join_curves([one, two, three])
    assert joined == {"step": [1.0, 4.0, 5.0, 9.0, 11.0], "a": [9.0, 8.0, 7.0, 6.0, 5.0]}
    assert one["step"] == [1.0, 4.0]


@pytest.mark.parametrize(
    ("rounds", "message"),
    [
        ([], "at least one class"),
        ([[0], []], "at least one class"),
        ([[0], [0]], "a class twice"),
        ([[12]], "does not exist"),
        ([[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]], "every class"),
    ],
)
def test_bad_rounds_are_refused(
    rounds: list[list[int]], message: str, original: Generative, digits: Dataset
) -> None:
    with pytest.raises(BadInput, match=message):
        forget_in_rounds(original, digits, rounds, METHOD, stream(0, "t"), lambda model: {})


def test_a_method_that_needs_a_fisher_says_so(original: Generative, digits: Dataset) -> None:
    with pytest.raises(BadInput, match="needs a Fisher"):
        forget_in_rounds(original, digits, [[0]], METHOD, stream(0, "t"))
