"""Reading the hardest images first: scores stay exact, worse candidates are read only in part."""

import math
from itertools import product

import pytest
import torch
from torch import Tensor

from tests.unlearn.world import World, accuracy
from unlearn.errors import BadInput
from unlearn.hardest_first import HardestFirst
from unlearn.methods.task_vector import CandidateWriter, TaskVector
from unlearn.splits import Images, Split

WEIGHT = 1.5
POINTS = list(product((-6.0, -3.0, -2.0, -1.0, -0.5, 0.0), (0.0, 0.5, 0.9)))


class Counting:
    """A classifier of two classes: answers 0 with the probability .9; counts what it reads."""

    def __init__(self) -> None:
        self.read = 0

    def __call__(self, x: Tensor) -> Tensor:
        self.read += len(x)
        return torch.tensor([0.9, 0.1]).log().expand(len(x), 2)


class ByPixel:
    """Gives class 0 the probability that an image's one pixel holds."""

    def __call__(self, x: Tensor) -> Tensor:
        of_class_0 = x.reshape(len(x), 1)
        return torch.cat([of_class_0, 1 - of_class_0], 1).log()


def labelled(n: int, label: int) -> Images:
    return Images(torch.zeros(n, 1, 1, 1, dtype=torch.uint8), torch.full((n,), label))


def test_images_come_in_the_order_of_what_they_are_expected_to_cost() -> None:
    """One forget image counts 1.5 / 2, one retain image 1 / 4; each times its probability to."""
    forget = torch.tensor([51, 204], dtype=torch.uint8).reshape(2, 1, 1, 1)
    retain = torch.tensor([255, 0, 153, 102], dtype=torch.uint8).reshape(4, 1, 1, 1)
    split = Split(
        Images(forget, torch.tensor([0, 0])),  # .2 and .8 of 3/4: .15, .6
        Images(retain, torch.tensor([0, 0, 0, 1])),  # 0, 1, .4, .4 of 1/4: 0, .25, .1, .1
    )
    reader = HardestFirst(split, [ByPixel()], WEIGHT)
    ((images, is_forget),) = reader.batches
    assert images.x.flatten().tolist()[:3] == [204, 0, 51]
    assert images.x.flatten().tolist()[-1] == 255
    assert is_forget.tolist() == [True, False, True, False, False, False]


def test_the_score_is_retain_less_weighted_forget_or_the_bar() -> None:
    split = Split(forget=labelled(4, 0), retain=labelled(6, 0))
    reader = HardestFirst(split, [Counting()], WEIGHT)
    assert reader.highest(Counting()) == 1 - 1.5
    assert reader.highest(Counting(), bar=-0.6) == -0.5
    assert reader.highest(Counting(), bar=-0.4) == -0.4


def test_reading_stops_once_the_bar_is_out_of_reach() -> None:
    """Batches of 50: after 100 of 200 forget images the score is at most 1 - 1.5 / 2 = .25."""
    split = Split(forget=labelled(200, 0), retain=labelled(400, 0))
    reader = HardestFirst(split, [Counting()], WEIGHT)
    model = Counting()
    assert reader.highest(model, bar=0.25) == 0.25
    assert model.read == 100
    model = Counting()
    assert reader.highest(model, bar=0.24) == 0.24
    assert model.read == 150


def test_the_highest_score_of_candidates_is_found_with_less_reading(one: World) -> None:
    writer = CandidateWriter(one.model, TaskVector(one.model, one.experts[0]), one.few)
    test = one.splits.test
    scores, images = [], 0
    for point in POINTS:
        weights = writer.write(*point).state_dict()
        retain = accuracy(one, weights, test.retain)
        scores.append(retain - WEIGHT * accuracy(one, weights, test.forget))
    reader = HardestFirst(test, [one.model], WEIGHT)

    def counted(x: Tensor) -> Tensor:
        nonlocal images
        images += len(x)
        return writer.model(x)  # type: ignore[no-any-return]

    best = -math.inf
    for point in POINTS:
        writer.write(*point)
        best = reader.highest(counted, best)
    assert best == pytest.approx(max(scores))
    assert images < len(POINTS) * (len(test.forget) + len(test.retain)) / 2


def test_a_split_without_forget_images_is_refused() -> None:
    with pytest.raises(BadInput, match="a split needs forget and retain images, not 0"):
        HardestFirst(Split(labelled(0, 0), labelled(3, 0)), [Counting()], WEIGHT)
