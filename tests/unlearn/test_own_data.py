"""Data sets of one's own: files, folders and loaders, and what is refused of them."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from unlearn.data import load, pinned, source_of
from unlearn.errors import BadInput
from unlearn.own_data import check_loader, content_id, is_loader, is_own

LOADERS = "tests.unlearn.own_loaders"
NOWHERE = Path("unused")


def saved(folder: Path, **arrays: Any) -> str:
    """Write an `.npz`; 40 images of 4 x 6 pixels in two classes, unless told otherwise."""
    plain = {"x": np.full((40, 4, 6), 7, np.uint8), "y": np.arange(40) % 2}
    kept = {key: value for key, value in {**plain, **arrays}.items() if value is not None}
    path = str(folder / "own.npz")
    np.savez(path, **kept)
    return path


def test_a_loader_s_digits_are_cut_into_train_val_and_test() -> None:
    """174 images of the rarest digit: 34 of every class are test; of the 140 left 14 are val."""
    data = load(f"{LOADERS}:digits8", NOWHERE)

    assert data.shape == (1, 8, 8)
    assert data.classes == 10
    assert data.test.y.bincount().tolist() == [34] * 10
    assert data.val.y.bincount().tolist() == [14] * 10
    assert len(data.train) + len(data.val) + len(data.test) == 1797
    assert data.train.x.max() == 255


def test_parts_of_a_loader_and_of_a_file_stay_apart(tmp_path: Path) -> None:
    loaded = load(f"{LOADERS}:in_two_parts", NOWHERE)
    assert (loaded.shape, len(loaded.train), len(loaded.val)) == ((2, 4, 6), 18, 2)
    assert len(loaded.test) == 4
    assert len(load(f"{LOADERS}:ready_made", NOWHERE).test) == 4
    path = saved(tmp_path, x_test=np.full((2, 4, 6), 9, np.uint8), y_test=np.array([0, 1]))
    read = load(path, NOWHERE)
    assert (read.shape, len(read.train), len(read.val)) == ((1, 4, 6), 36, 4)
    assert set(read.train.x.flatten().tolist()) == {7}
    assert set(read.test.x.flatten().tolist()) == {9}


def test_shares_become_bytes(tmp_path: Path) -> None:
    x = np.zeros((40, 1, 1, 2))
    x[:, 0, 0, 1] = 0.5
    data = load(saved(tmp_path, x=x), NOWHERE)
    assert data.train.x[0].flatten().tolist() == [0, 128]


def test_fine_labels_come_along(tmp_path: Path) -> None:
    fine = np.arange(40) % 4
    path = saved(tmp_path, fine=fine)
    data = load(path, NOWHERE)
    assert source_of(path).fine == 4
    for images in (data.train, data.val, data.test):
        assert images.fine is not None
        assert torch.equal(images.fine % 2, images.y)


def write_folder(root: Path, mode: str = "L", size: tuple[int, int] = (6, 4)) -> Path:
    """Images of cats (value 10) and dogs (20), 4 to train on and 1 to test on each."""
    for part, count in (("train", 4), ("test", 1)):
        for value, name in ((20, "dog"), (10, "cat")):
            folder = root / part / name
            folder.mkdir(parents=True)
            for number in range(count):
                colour: Any = value if mode == "L" else (value, 0, 1)
                Image.new(mode, size, colour).save(folder / f"{number}.png")
    (root / "train" / "dog" / "notes.txt").write_text("not an image")
    return root


@pytest.mark.parametrize(("mode", "shape"), [("L", (1, 4, 6)), ("RGB", (3, 4, 6))])
def test_a_folder_has_a_subfolder_per_class(
    mode: str, shape: tuple[int, int, int], tmp_path: Path
) -> None:
    data = load(str(write_folder(tmp_path / "pets", mode)), NOWHERE)
    assert (data.shape, data.classes) == (shape, 2)
    assert (len(data.train), len(data.val), len(data.test)) == (6, 2, 2)
    assert data.test.y.tolist() == [0, 1]
    assert data.test.x[:, 0, 0, 0].tolist() == [10, 20]
    if mode == "RGB":
        assert data.test.x[0, :, 3, 5].tolist() == [10, 0, 1]


def refusal(name: str) -> str:
    with pytest.raises(BadInput) as caught:
        load(name, NOWHERE)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_folders_that_do_not_fit_are_refused_by_file(tmp_path: Path) -> None:
    pets = write_folder(tmp_path / "pets")
    (pets / "test" / "bird").mkdir()
    assert "has the classes ['bird', 'cat', 'dog'], but" in refusal(str(pets))
    (pets / "train" / "bird").mkdir()
    assert "bird holds no images; known: .png" in refusal(str(pets))
    for part in ("train", "test"):
        (pets / part / "bird").rmdir()
    Image.new("L", (5, 4)).save(pets / "train" / "dog" / "3.png")
    assert "3.png has 5 x 4 pixels, but the images before it 6 x 4" in refusal(str(pets))
    (pets / "train" / "dog" / "3.png").write_bytes(b"nothing")
    assert "3.png is no image that can be read" in refusal(str(pets))
    assert "train is missing; give train/ and test/" in refusal(str(tmp_path))


BYTES = np.zeros((40, 4, 6), np.uint8)
WRONG_FILES: list[tuple[dict[str, Any], str]] = [
    ({"y": None}, "has no array 'y'"),
    ({"x_test": BYTES}, "has no array 'y_test'; give x_test and y_test, or neither"),
    ({"labels": np.arange(3)}, "unknown key 'labels'"),
    ({"x": BYTES[:, :, 0]}, "has the shape (40, 4), not (n, height, width) or"),
    ({"x": np.zeros((40, 8, 8, 5), np.uint8)}, "of 1 to 4 channels; reshape it, or move"),
    ({"x": BYTES.astype(float) + 2}, "holds float64 from 2.0 to 2.0; give bytes (uint8), or"),
    ({"x": BYTES.astype(float) * np.nan}, "give bytes (uint8), or"),
    ({"x": BYTES.astype(int)}, "holds int64 from 0 to 0; give bytes (uint8), or"),
    ({"y": np.arange(39) % 2}, "must be 40 whole numbers from 0 to 9999, (n,), not int64 (39,)"),
    ({"y": np.arange(40) % 2 + 10**12}, "must be 40 whole numbers from 0"),
    ({"y": np.arange(40) % 2 - 1}, "must be 40 whole numbers from 0"),
    ({"y": np.arange(40) / 2}, "to 9999, (n,), not float64"),
    ({"y": np.array(["cat"] * 40)}, "must be an array of numbers, not <U3"),
    ({"y": np.arange(40) % 2 * 2}, "hold none of class [1]"),
    ({"y": np.arange(40)}, "has 1 images of class 0, but train, val and test"),
    ({"x": np.array([{}] * 40)}, "is no .npz of plain arrays"),
    ({"fine": np.zeros(3, int)}, "fine labels of"),
]


@pytest.mark.parametrize(("arrays", "says"), WRONG_FILES)
def test_files_that_do_not_fit_are_refused(
    arrays: dict[str, Any], says: str, tmp_path: Path
) -> None:
    assert re.search(re.escape(says), refusal(saved(tmp_path, **arrays)))


def test_a_damaged_file_and_a_missing_one_are_refused(tmp_path: Path) -> None:
    assert "is neither a file nor a folder" in refusal(str(tmp_path / "none.npz"))
    (tmp_path / "bad.npz").write_bytes(b"PK nothing")
    assert "is no .npz of plain arrays" in refusal(str(tmp_path / "bad.npz"))


WRONG_LOADERS = [
    ("broken", "raises KeyError: 'no such file' (own_loaders.py:"),
    ("text", "return (x, y), or ((x, y), (x_test, y_test))"),
    ("one_class", "has one class; give two or more"),
    ("none", "data set 'tests.unlearn.own_loaders:none': tests.unlearn.own_loaders has no none"),
]


@pytest.mark.parametrize(("name", "says"), WRONG_LOADERS)
def test_loaders_that_do_not_fit_are_refused(name: str, says: str) -> None:
    assert says in refusal(f"{LOADERS}:{name}")


def test_a_name_is_pinned_to_its_content(tmp_path: Path) -> None:
    path = saved(tmp_path)
    name = pinned(path)
    assert name.startswith(f"{path}#")
    assert pinned(name) == name
    (tmp_path / "elsewhere").mkdir()
    copy = pinned(saved(tmp_path / "elsewhere"))
    assert copy != name
    assert content_id(copy) == content_id(name) == name.removeprefix(path)
    assert len(load(name, NOWHERE).test) == 8
    saved(tmp_path, x=np.zeros((40, 4, 6), np.uint8))
    assert "has changed since the sweep was planned; plan it again" in refusal(name)


def test_names_of_ours_stay_and_count_as_they_are() -> None:
    assert pinned("mnist5k") == content_id("mnist5k") == "mnist5k"
    for name, own, loader in (
        ("mnist5k", False, False),
        ("./images", True, False),
        ("a.npz", True, False),
        ("pkg.mod:load", True, True),
        ("/data/a:b/c.npz", True, False),
        ("pkg:load#0123456789abcdef", True, True),
    ):
        assert (is_own(name), is_loader(name)) == (own, loader)


def test_a_loader_named_by_rows_runs_only_where_it_is_allowed() -> None:
    name = "pkg:load#0123456789abcdef"
    check_loader("mnist5k", (), "report")
    check_loader("/a/b.npz", (), "report")
    check_loader(name, ("pkg:load",), "report")
    with pytest.raises(BadInput, match="allow it with `amnesia report --builder pkg:load`"):
        check_loader(name, (), "report")
