"""The store: weights come back bit for bit, damaged files are refused by name."""

import errno
import os
from pathlib import Path

import pytest
import torch

from unlearn import cards
from unlearn.artifacts import Store
from unlearn.errors import BadInput
from unlearn.files import write_whole
from unlearn.models import Weights

WEIGHTS: Weights = {"a": torch.arange(6.0).view(2, 3).T, "n": torch.tensor(3)}


@pytest.mark.parametrize("root", ["{tmp}", "memory://store"])
def test_weights_come_back_bit_for_bit(root: str, tmp_path: Path) -> None:
    store = Store(root.format(tmp=tmp_path))
    assert not store.has("original", "k")
    store.save("original", "k", WEIGHTS, {"seconds": 1.5})
    again = store.load("original", "k")
    assert again.keys() == WEIGHTS.keys()
    assert all(torch.equal(again[name], WEIGHTS[name]) for name in WEIGHTS)
    assert store.card("original", "k")["seconds"] == 1.5


def test_damage_is_refused_by_name(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    store.save("original", "k", WEIGHTS, {})
    path = tmp_path / "original" / "k" / "weights.safetensors"
    good = path.read_bytes()
    path.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    with pytest.raises(BadInput, match=r"weights\.safetensors is damaged or foreign"):
        store.load("original", "k")
    path.unlink()
    with pytest.raises(BadInput, match=r"weights\.safetensors is missing"):
        store.load("original", "k")
    (path.parent / "card.json").write_text("{")
    with pytest.raises(BadInput, match="damaged"):
        store.load("original", "k")
    (path.parent / "card.json").write_text('{"format": "other"}')
    with pytest.raises(BadInput, match="format"):
        store.load("original", "k")


def test_an_artifact_in_the_folder_of_another_is_refused(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    store.save("original", "k", WEIGHTS, {})
    (tmp_path / "original" / "k").rename(tmp_path / "original" / "other")
    with pytest.raises(BadInput, match="holds another"):
        store.load("original", "other")


def test_weights_without_their_card_do_not_exist(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    store.save("fisher", "k", WEIGHTS, {})
    (tmp_path / "fisher" / "k" / "card.json").unlink()
    assert not store.has("fisher", "k")


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    write_whole(tmp_path / "x", b"one")
    write_whole(tmp_path / "x", b"two")
    assert (tmp_path / "x").read_bytes() == b"two"
    (tmp_path / "folder").mkdir()
    with pytest.raises(BadInput, match="cannot write"):
        write_whole(tmp_path / "folder", b"three")
    with pytest.raises(BadInput, match="cannot write"):
        write_whole(tmp_path / "x" / "below", b"four")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "x"]


def disk_full(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_whole(tmp_path / "x", b"two")
    monkeypatch.setattr(os, "fsync", disk_full)
    with pytest.raises(BadInput, match=r"cannot write .*No space left"):
        write_whole(tmp_path / "x", b"three")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("x", b"two")]


def test_an_artifact_whose_weights_could_not_be_written_does_not_exist(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The card is written last: where it exists, so do all files that it names."""
    store = Store(str(tmp_path))

    def write(url: str, data: bytes) -> None:
        if url.endswith(".safetensors"):
            raise BadInput("cannot write")
        write_whole(url, data)

    monkeypatch.setattr(cards, "write_whole", write)
    with pytest.raises(BadInput, match="cannot write"):
        store.save("original", "0123456789abcdef", {"w": torch.zeros(1)}, {})
    assert not store.has("original", "0123456789abcdef")
