"""Forget sets that are not whole classes."""

import pytest
import torch

from unlearn.errors import BadInput
from unlearn.forget_sets import RandomShare, split_random
from unlearn.splits import Dataset, Images


def images(n: int, first: int = 0) -> Images:
    """Images of one pixel that tells them apart."""
    return Images(torch.arange(first, first + n).view(n, 1, 1, 1), torch.arange(n) % 3)


DATA = Dataset("d", images(100), images(9, 100), images(12, 200), 3)


def test_a_random_share_is_drawn_by_the_seed() -> None:
    share = RandomShare(0.1)
    chosen = share.mask(1000, 0)
    assert int(chosen.sum()) == 100
    assert torch.equal(chosen, share.mask(1000, 0))
    assert not torch.equal(chosen, share.mask(1000, 1))
    assert not torch.equal(chosen, RandomShare(0.2).mask(1000, 0))


def test_the_training_images_are_divided_and_no_other() -> None:
    splits = split_random(DATA, RandomShare(0.25), 0)
    forgotten, kept = splits.train.forget.x.flatten(), splits.train.retain.x.flatten()
    assert (len(forgotten), len(kept)) == (25, 75)
    assert torch.equal(torch.cat([forgotten, kept]).sort().values, torch.arange(100))
    for split, whole in ((splits.val, DATA.val), (splits.test, DATA.test)):
        assert torch.equal(split.forget.x, whole.x)
        assert torch.equal(split.retain.x, whole.x)


def test_its_text_gives_it_back() -> None:
    assert str(RandomShare(0.1)) == "random 0.1"
    assert RandomShare.parse("random 0.1") == RandomShare(0.1)
    for text in ("half 0.1", "random", "random a"):
        with pytest.raises(BadInput, match="known: random SHARE"):
            RandomShare.parse(text)


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, 2.0])
def test_a_share_of_nothing_or_all_is_refused(share: float) -> None:
    with pytest.raises(BadInput, match="between 0 and 1"):
        RandomShare(share)


def test_a_share_of_too_few_images_is_refused() -> None:
    with pytest.raises(BadInput, match="forget at least 10"):
        RandomShare(0.05).mask(100, 0)
