import pytest
import torch

from unlearn.errors import BadInput
from unlearn.fisher.generators import generator_fisher
from unlearn.methods import make_method
from unlearn.methods.base import join_curves
from unlearn.methods.rounds import forget_in_rounds, round_splits
from unlearn.models import build
from unlearn.streams import stream
from unlearn.train import snapshot

METHOD = make_method("selective-amnesia", {"steps": 6, "batch": 8})
TURNS = [[0], [1], [2]]


class Counted:
    """A Fisher that remembers the weights it was asked about."""

    def __init__(self):
        self.asked = []

    def __call__(self, model):
        self.asked.append(snapshot(model))
        return generator_fisher(model, 40, stream(0, "fisher"))


@pytest.mark.parametrize(("recompute", "times"), [(True, 3), (False, 1)])
def test_the_fisher_is_recomputed_or_kept_as_declared(recompute, times, original, digits):
    fisher, before = Counted(), snapshot(original)
    last, rounds = forget_in_rounds(
        original, digits, TURNS, METHOD, stream(0, "t"), fisher, recompute=recompute
    )
    assert len(fisher.asked) == times
    assert all(torch.equal(fisher.asked[0][key], before[key]) for key in before)
    assert all(torch.equal(original.state_dict()[key], before[key]) for key in before)
    assert [(each.forget, each.earlier) for each in rounds] == [
        ((0,), ()),
        ((1,), (0,)),
        ((2,), (0, 1)),
    ]
    assert all(torch.equal(last.weights[key], rounds[-1].unlearned.weights[key]) for key in before)
    if recompute:
        assert all(
            torch.equal(fisher.asked[1][key], rounds[0].unlearned.weights[key]) for key in before
        )


def test_one_round_is_the_method_itself(original, digits, splits):
    fisher = generator_fisher(original, 40, stream(0, "fisher"))
    alone = METHOD(original, splits, stream(3, "t"), fisher=fisher)
    turned, _ = forget_in_rounds(
        original, digits, [[0]], METHOD, stream(3, "t"), lambda model: fisher
    )
    assert all(torch.equal(turned.weights[key], value) for key, value in alone.weights.items())
    assert turned.curve == alone.curve


def test_earlier_classes_are_forgotten_again_or_left_out(digits):
    again, out = (round_splits(digits, [3], [0, 1], again) for again in (True, False))
    assert again.train.forget.y.unique().tolist() == [0, 1, 3]
    assert out.train.forget.y.unique().tolist() == [3]
    for splits in (again, out):
        for part in (splits.train, splits.val, splits.test):
            assert part.retain.y.unique().tolist() == [2, 4, 5, 6, 7, 8, 9]


def test_again_holds_earlier_amnesia_on_real_digits(original, digits, grader, fisher):
    method = make_method("selective-amnesia", {"steps": 250, "batch": 48})
    last, _ = forget_in_rounds(
        original, digits, [[0], [7]], method, stream(0, "two"), lambda model: fisher
    )
    model = build("cvae-mlp", original.shape, original.classes, last.weights)
    z, labels = torch.randn(200, model.z_dim, generator=stream(0, "z")), torch.arange(200) % 10
    with torch.no_grad():
        hit = (grader(model(z, model.one_hot(labels))).argmax(1) == labels).float()
    gone = torch.isin(labels, torch.tensor([0, 7]))
    assert hit[gone].mean() < 0.2
    assert hit[~gone].mean() > 0.6


def test_curves_are_joined_end_to_end():
    one, two = {"step": [1.0, 4.0], "a": [9.0, 8.0]}, {"step": [1.0, 5.0], "a": [7.0, 6.0]}
    assert join_curves([one, two]) == {"step": [1.0, 4.0, 5.0, 9.0], "a": [9.0, 8.0, 7.0, 6.0]}


@pytest.mark.parametrize(
    ("rounds", "says"),
    [
        ([], "at least one class"),
        ([[0], []], "at least one class"),
        ([[0], [0]], "a class twice"),
        ([[12]], "does not exist"),
        ([[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]], "every class"),
    ],
)
def test_bad_rounds_are_refused(rounds, says, original, digits):
    with pytest.raises(BadInput, match=says):
        forget_in_rounds(original, digits, rounds, METHOD, stream(0, "t"), lambda model: {})


def test_a_method_that_needs_a_fisher_says_so(original, digits):
    with pytest.raises(BadInput, match="needs a Fisher"):
        forget_in_rounds(original, digits, [[0]], METHOD, stream(0, "t"))
