"""Racing candidates on val: what would have been chosen is not stopped."""

import math
from itertools import product

import numpy as np
import pytest
import torch
from scipy.stats import hypergeom

from tests.unlearn.world import World
from unlearn.data import Part
from unlearn.early_stop import Tally, ValReader
from unlearn.errors import BadInput
from unlearn.methods.task_arithmetic import CandidateWriter, TaskVector

WEIGHT = 1.5
CANDIDATES = list(product((-6.0, -3.0, -2.0, -1.0, -0.5, 0.0), (0.0, 0.5, 0.9)))


def test_a_race_without_a_bar_reads_all_of_val(one: World) -> None:
    race, val = ValReader(one.splits.val).run(one.model, WEIGHT), one.splits.val
    with torch.no_grad():
        forget, retain = (
            (one.model(part.pixels()).argmax(1) == part.y).float().mean().item()
            for part in (val.forget, val.retain)
        )
    assert math.isclose(race.forget, forget, abs_tol=1e-6)
    assert math.isclose(race.retain, retain, abs_tol=1e-6)
    assert race.images == len(val.forget) + len(val.retain)
    assert not race.stopped


def test_a_val_without_forgotten_images_is_refused(one: World) -> None:
    val = one.splits.val
    with pytest.raises(BadInput, match="a split needs forgotten and kept images, not 0"):
        ValReader(Part(val.forget.take(torch.tensor([], dtype=torch.long)), val.retain))


def test_what_can_still_equal_the_bar_is_read_to_its_end(one: World) -> None:
    reader = ValReader(one.splits.val, batch=50)
    full = reader.run(one.model, WEIGHT)
    bar = full.retain - WEIGHT * full.forget
    assert not reader.run(one.model, WEIGHT, bar).stopped
    assert reader.run(one.model, WEIGHT, 2.0).stopped


def test_racing_finds_the_same_best_and_reads_less(one: World) -> None:
    writer = CandidateWriter(one.model, TaskVector(one.model, one.experts[0]), one.few)
    reader, bar, stopped, read = ValReader(one.splits.val, batch=50), -math.inf, 0, 0
    whole, raced = {}, {}
    for point in CANDIDATES:
        full = reader.run(writer.operate(*point), WEIGHT)
        whole[point] = full.retain - WEIGHT * full.forget
        race = reader.run(writer.operate(*point), WEIGHT, bar)
        read += race.images
        if race.stopped:
            stopped += 1
            assert whole[point] < bar
            assert race.images < full.images
        else:
            raced[point] = race.retain - WEIGHT * race.forget
            bar = max(bar, raced[point])
    assert max(raced, key=lambda p: raced[p]) == max(whole, key=lambda p: whole[p])
    assert stopped > 0
    assert read < len(CANDIDATES) * full.images


@pytest.mark.parametrize("right", [40, 1800, 4000, 4490])
@pytest.mark.parametrize("read", [100, 500, 1500, 4400])
def test_the_bound_is_what_it_says(right: int, read: int) -> None:
    """How often `read` of 4,500 images mislead too far, by the exact distribution."""
    total = 4500
    seen = np.arange(max(0, read - (total - right)), min(read, right) + 1)
    for wrong in (
        [Tally(total, int(k), read).most < right / total for k in seen],
        [Tally(total, int(k), read).least > right / total for k in seen],
    ):
        assert hypergeom.pmf(seen[np.array(wrong)], total, right, read).sum() <= 1e-9


def test_the_bound_stops_long_before_the_last_image() -> None:
    some, whole = Tally(4500, 200, 500), Tally(4500, 1800, 4500)
    assert some.most < 0.53  # where 40 % of 500 were right; all images left would bring 93 %
    assert some.least > 0.28
    assert Tally(4500, 0, 500).most < 0.05  # what nearly always holds or fails is known sooner
    assert whole.most == 0.4 == whole.least


def test_a_tie_is_one_to_the_last_bit() -> None:
    """A share that is bound from both sides is the share, not a rounding error beside it."""
    for total in (450, 4500):
        for right in range(total + 1):
            assert (
                Tally(total, right, total).most == right / total == Tally(total, right, total).least
            )
