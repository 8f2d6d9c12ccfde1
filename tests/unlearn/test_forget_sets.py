"""Forget sets that are not whole classes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from unlearn.errors import BadInput
from unlearn.forget_sets import (
    ChosenIndices,
    RandomShare,
    Subclasses,
    parse_subset,
    split_subset,
    without_place,
)
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
    splits = split_subset(DATA, RandomShare(0.25), 0)
    forgotten, kept = splits.train.forget.x.flatten(), splits.train.retain.x.flatten()
    assert (len(forgotten), len(kept)) == (25, 75)
    assert torch.equal(torch.cat([forgotten, kept]).sort().values, torch.arange(100))
    for split, whole in ((splits.val, DATA.val), (splits.test, DATA.test)):
        assert torch.equal(split.forget.x, whole.x)
        assert torch.equal(split.retain.x, whole.x)


def saved(folder: Path, values: list[Any]) -> str:
    path = str(folder / "forget.npy")
    np.save(path, np.array(values))
    return path


def test_its_text_gives_it_back(tmp_path: Path) -> None:
    chosen = ChosenIndices.of_file(saved(tmp_path, [3, 1]))
    for subset in (RandomShare(0.1), chosen, Subclasses((3, 5))):
        assert parse_subset(str(subset)) == subset
    assert without_place("random 0.1") == "random 0.1"
    assert without_place(str(chosen)) == f"indices {chosen.sha256}"
    for text in ("half 0.1", "random", "random a", "subclass a"):
        with pytest.raises(BadInput, match="known: random, indices, subclass"):
            parse_subset(text)


def test_a_file_names_the_forgotten_images(tmp_path: Path) -> None:
    chosen = ChosenIndices.of_file(saved(tmp_path, [3, 1, 99]))
    splits = split_subset(DATA, chosen, 0)
    assert splits.train.forget.x.flatten().tolist() == [1, 3, 99]
    assert len(splits.train.retain) == 97
    saved(tmp_path, [4])
    with pytest.raises(BadInput, match="has changed since the sweep was planned"):
        chosen.mask(100, 0)


@pytest.mark.parametrize("values", [[], [0.5], [1, 1], [[1, 2]], ["a"]])
def test_a_file_of_anything_else_is_refused(tmp_path: Path, values: list[Any]) -> None:
    with pytest.raises(BadInput, match="must hold distinct whole numbers"):
        ChosenIndices.of_file(saved(tmp_path, values))


def test_missing_files_pickles_and_places_out_of_range_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="does not exist"):
        ChosenIndices.of_file(str(tmp_path / "none.npy"))
    np.save(tmp_path / "pickle.npy", np.array([{}]), allow_pickle=True)
    with pytest.raises(BadInput, match=r"is no .npy file of whole numbers"):
        ChosenIndices.of_file(str(tmp_path / "pickle.npy"))
    for values in ([100], [-1], list(range(100))):
        chosen = ChosenIndices.of_file(saved(tmp_path, values))
        with pytest.raises(BadInput, match="some of 0 to 99"):
            chosen.mask(100, 0)


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, 2.0])
def test_a_share_of_nothing_or_all_is_refused(share: float) -> None:
    with pytest.raises(BadInput, match="between 0 and 1"):
        RandomShare(share)


def test_a_share_of_too_few_images_is_refused() -> None:
    with pytest.raises(BadInput, match="forget at least 10"):
        RandomShare(0.05).mask(100, 0)


def test_fine_labels_are_taken_out_of_every_split() -> None:
    """Class y holds the fine labels 2 y and 2 y + 1; label 3 is half of class 1."""

    def halves(n: int, first: int) -> Images:
        plain = images(n, first)
        return Images(plain.x, plain.y, 2 * plain.y + torch.arange(n) // 3 % 2)

    data = Dataset("d", halves(24, 0), halves(6, 100), halves(12, 200), 3)

    splits = split_subset(data, Subclasses((3,)), 0)

    assert splits.train.forget.x.flatten().tolist() == [4, 10, 16, 22]
    assert splits.val.forget.x.flatten().tolist() == [104]
    assert splits.test.forget.x.flatten().tolist() == [204, 210]
    assert set(splits.test.forget.y.tolist()) == {1}
    assert len(splits.train.retain) == 20
    assert 1 in splits.test.retain.y.tolist()


def test_fine_labels_that_a_data_set_lacks_are_refused() -> None:
    with pytest.raises(BadInput, match="the data set has no fine labels; forget classes"):
        split_subset(DATA, Subclasses((1,)), 0)
    with pytest.raises(BadInput, match="subclass 1: the data set has no fine labels"):
        Subclasses((1,)).check(0)
    with pytest.raises(BadInput, match="forget class 6 does not exist; allowed: 0 to 5"):
        Subclasses((1, 6)).check(6)
    with pytest.raises(BadInput, match="is every class"):
        Subclasses((0, 1)).check(2)
