"""RUM: its thirds by hand, and that each part is its method's own work."""

import pytest
import torch

from tests.unlearn.methods.tiny import TwoPixels, two_pixel_splits, two_pixels
from unlearn.errors import BadInput
from unlearn.methods import make_method
from unlearn.methods.fine_tune import FineTune
from unlearn.methods.rum import Rum, doubts
from unlearn.methods.scrub import Scrub
from unlearn.splits import Images
from unlearn.streams import stream


def dimmed(*levels: int) -> Images:
    """Images of label 0 whose first pixel has these values."""
    x = torch.zeros(len(levels), 1, 1, 2, dtype=torch.uint8)
    x[:, 0, 0, 0] = torch.tensor(levels, dtype=torch.uint8)
    return Images(x, torch.zeros(len(levels)).long())


def test_doubt_is_one_minus_the_probability_of_the_label() -> None:
    """Pixel a gives logits a log p: for p = (1/2, 1/4, 1/4) and a = 0 thirds, at a = 1 one half."""
    found = doubts(two_pixels(), dimmed(0, 255))
    torch.testing.assert_close(found, torch.tensor([2 / 3, 1 / 2]).double(), atol=1e-6, rtol=0)


def test_thirds_are_ordered_by_doubt() -> None:
    splits = two_pixel_splits()
    object.__setattr__(splits.train, "forget", dimmed(10, 250, 100, 200, 30, 150))
    low, medium, high = Rum().parts(two_pixels(), splits)
    levels = [sorted(part.x[:, 0, 0, 0].tolist()) for part in (low, medium, high)]
    assert levels == [[200, 250], [100, 150], [10, 30]]


def test_one_part_is_the_method_alone() -> None:
    """With `none` for two thirds, what is left is the third one's method on its images."""
    knobs = {"batch": 2, "steps": 3, "lr": 1e-2}
    splits = two_pixel_splits(forgotten=6, retained=4)
    rum = make_method("rum", {**knobs, "low": "none", "medium": "none", "high": "fine-tune"})
    made = rum(two_pixels(), splits, stream(0, "rum"))
    alone = FineTune(batch=2, steps=3, lr=1e-2)(two_pixels(), splits, stream(0, "rum"))
    assert torch.equal(made.weights["head.weight"], alone.weights["head.weight"])
    assert made.curve["step"] == alone.curve["step"] == [1.0, 2.0, 3.0]


def test_parts_follow_one_another() -> None:
    """Two parts of fine-tuning are fine-tuning twice, from where the first ended."""
    knobs = {"batch": 2, "steps": 2, "lr": 1e-2}
    splits, generator = two_pixel_splits(forgotten=6, retained=4), stream(0, "rum")
    names = {"low": "fine-tune", "medium": "none", "high": "fine-tune"}
    made = make_method("rum", {**knobs, **names})(two_pixels(), splits, stream(0, "rum"))
    single = FineTune(batch=2, steps=2, lr=1e-2)
    middle: TwoPixels = two_pixels()
    middle.load_state_dict(single(two_pixels(), splits, generator).weights)
    twice = single(middle, splits, generator).weights
    assert torch.equal(made.weights["head.weight"], twice["head.weight"])
    assert made.curve["step"] == [1.0, 2.0, 3.0, 4.0]


def test_knobs_of_the_schedule_hold_for_each_part() -> None:
    rum = Rum(low="scrub", steps=10, epochs=0.0, batch=7, weight_decay=0.1)
    scrub, _, salun = rum.methods()
    assert isinstance(scrub, Scrub)
    assert (scrub.msteps, scrub.steps, scrub.batch) == (10, 10, 7)
    assert salun is not None
    assert salun.weight_decay == 0.1


@pytest.mark.parametrize("names", [("none", "none", "none"), ("ssd", "none", "none")])
def test_methods_that_cannot_be_parts_are_refused(names: tuple[str, str, str]) -> None:
    with pytest.raises(BadInput):
        Rum(low=names[0], medium=names[1], high=names[2])
