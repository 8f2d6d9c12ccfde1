"""Reading val no longer than a candidate can win: the bounds hold, the choice stays the same."""

import math
from itertools import product

import numpy as np
import pytest
import torch
from scipy.stats import hypergeom
from torch import Tensor

from tests.unlearn.world import World
from unlearn.early_stop import RunningAccuracy, ValReader, log_tail_bound, max_correct
from unlearn.errors import BadInput
from unlearn.methods.task_vector import CandidateWriter, TaskVector
from unlearn.splits import Images, Split

WEIGHT = 1.5
SCALES = (-6.0, -3.0, -2.0, -1.0, -0.5, 0.0)
QUANTILES = (0.0, 0.5, 0.9)


def labelled(n: int, label: int) -> Images:
    """n blank images of one class."""
    return Images(torch.zeros(n, 1, 2, 2, dtype=torch.uint8), torch.full((n,), label))


class Constant:
    """Answers class 0 to every image, and records how many images each call has."""

    def __init__(self) -> None:
        self.calls: list[int] = []

    def __call__(self, x: Tensor) -> Tensor:
        self.calls.append(len(x))
        return torch.tensor([1.0, 0.0]).expand(len(x), 2)


def test_without_a_bar_all_of_val_is_read(one: World) -> None:
    val = one.splits.val
    read = ValReader(val).run(one.model, WEIGHT)
    with torch.no_grad():
        forget, retain = (
            (one.model(part.pixels()).argmax(1) == part.y).float().mean().item()
            for part in (val.forget, val.retain)
        )
    assert math.isclose(read.forget, forget, abs_tol=1e-6)
    assert math.isclose(read.retain, retain, abs_tol=1e-6)
    assert read.images == len(val.forget) + len(val.retain)
    assert not read.stopped


def test_the_score_is_retain_less_weighted_forget() -> None:
    read = ValReader(Split(forget=labelled(4, 1), retain=labelled(6, 0))).run(Constant(), 1.5)
    assert (read.forget, read.retain, read.images) == (0.0, 1.0, 10)
    assert read.score(1.5) == 1.0
    read = ValReader(Split(forget=labelled(4, 0), retain=labelled(6, 0))).run(Constant(), 1.5)
    assert read.score(1.5) == -0.5


def test_a_batch_is_a_25th_of_the_split_and_at_least_100_images() -> None:
    small, large = Constant(), Constant()
    ValReader(Split(forget=labelled(50, 0), retain=labelled(250, 0))).run(small, WEIGHT)
    ValReader(Split(forget=labelled(500, 0), retain=labelled(4500, 0))).run(large, WEIGHT)
    assert small.calls == [100, 50, 100, 50]  # retain, forget, retain
    assert large.calls == [200, 200, 200, 100, *[200] * 21, 100]  # 5000 / 25


def test_reading_stops_at_the_first_look_that_rules_the_bar_out() -> None:
    """With every answer right the score is 1 - 1.5 = -0.5 in the end."""
    split = Split(forget=labelled(200, 0), retain=labelled(400, 0))
    model = Constant()
    read = ValReader(split, batch=50).run(model, WEIGHT, bar=0.9)
    assert (read.forget, read.retain) == (1.0, 1.0)
    assert model.calls == [50, 50]  # no look before forget images are read
    assert read.images == 100
    assert read.stopped
    reached = ValReader(split, batch=50).run(Constant(), WEIGHT, bar=-0.5)
    assert (reached.images, reached.stopped) == (600, False)


def test_a_val_without_forget_images_is_refused(one: World) -> None:
    val = one.splits.val
    nothing = val.forget.take(torch.tensor([], dtype=torch.long))
    with pytest.raises(BadInput, match="a split needs forget and retain images, not 0"):
        ValReader(Split(nothing, val.retain))


def test_a_candidate_that_can_still_equal_the_bar_is_read_to_the_end(one: World) -> None:
    reader = ValReader(one.splits.val, batch=50)
    full = reader.run(one.model, WEIGHT)
    bar = full.retain - WEIGHT * full.forget
    assert not reader.run(one.model, WEIGHT, bar).stopped
    assert reader.run(one.model, WEIGHT, 2.0).stopped


def test_stopping_early_finds_the_same_best_and_reads_less(one: World) -> None:
    writer = CandidateWriter(one.model, TaskVector(one.model, one.experts[0]), one.few)
    reader = ValReader(one.splits.val, batch=50)
    candidates = list(product(SCALES, QUANTILES))
    bar, stopped, images = -math.inf, 0, 0
    full_scores, early_scores = {}, {}
    for point in candidates:
        full = reader.run(writer.write(*point), WEIGHT)
        full_scores[point] = full.retain - WEIGHT * full.forget
        early = reader.run(writer.write(*point), WEIGHT, bar)
        images += early.images
        if early.stopped:
            stopped += 1
            assert full_scores[point] < bar
            assert early.images < full.images
        else:
            early_scores[point] = early.retain - WEIGHT * early.forget
            bar = max(bar, early_scores[point])
    best = max(full_scores, key=lambda point: full_scores[point])
    assert max(early_scores, key=lambda point: early_scores[point]) == best
    assert stopped > 0
    assert images < len(candidates) * full.images


@pytest.mark.parametrize("correct", [40, 1800, 4000, 4490])
@pytest.mark.parametrize("read", [100, 500, 1500, 4400])
def test_a_bound_is_wrong_with_at_most_its_probability(correct: int, read: int) -> None:
    """Against the exact distribution: how likely `read` of 4,500 images give a wrong bound."""
    total = 4500
    fewest = max(0, read - (total - correct))
    counts = np.arange(fewest, min(read, correct) + 1)
    seen = [RunningAccuracy(total, int(count), read) for count in counts]
    too_low = np.array([each.upper_bound < correct / total for each in seen])
    too_high = np.array([each.lower_bound > correct / total for each in seen])
    for wrong in (too_low, too_high):
        assert hypergeom.pmf(counts[wrong], total, correct, read).sum() <= 1e-9


def test_the_tail_bound_by_hand() -> None:
    """2 of 4 images are right, 2 are read: P(0) = 1/6, P(1) = 4/6, P(2) = 1/6."""
    assert math.isclose(math.exp(log_tail_bound(4, 2, 2, 0)), 1 / 6)  # nothing lies below 0
    series = 4 / 6 / (1 - 1 / 4)  # P(1) / (1 - r), r = P(0) / P(1); P(X <= 1) is 5/6
    assert math.isclose(math.exp(log_tail_bound(4, 2, 2, 1)), series)
    assert log_tail_bound(4, 2, 2, 2) == 0  # r = 4: above the mode


def test_the_tail_bound_lies_above_the_exact_tail() -> None:
    for correct in range(41):
        bound = log_tail_bound(4500, 1800, 100, correct)
        exact = hypergeom.logcdf(correct, 4500, 1800, 100)
        assert bound >= exact - 1e-9
        if correct <= 20:  # far below the mean of 40 it is tight
            assert bound <= exact + 0.1


def test_the_largest_count_is_the_last_that_is_not_ruled_out() -> None:
    most = max_correct(4500, 500, 200)
    assert log_tail_bound(4500, most, 500, 200) > math.log(1e-9)
    assert log_tail_bound(4500, most + 1, 500, 200) <= math.log(1e-9)


def test_the_bounds_are_narrow_long_before_the_last_image() -> None:
    some, whole = RunningAccuracy(4500, 200, 500), RunningAccuracy(4500, 1800, 4500)
    assert some.upper_bound < 0.53  # 40 % of 500 are right; all the others would make it 93 %
    assert some.lower_bound > 0.28
    # an accuracy near 0 or 1 is known sooner
    assert RunningAccuracy(4500, 0, 500).upper_bound < 0.05
    assert whole.upper_bound == 0.4 == whole.lower_bound


def test_both_bounds_of_a_split_that_is_read_whole_are_its_accuracy_to_the_last_bit() -> None:
    for total in (450, 4500):
        for right in range(total + 1):
            whole = RunningAccuracy(total, right, total)
            assert whole.upper_bound == right / total == whole.lower_bound
