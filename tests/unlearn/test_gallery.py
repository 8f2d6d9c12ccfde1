"""The gallery: versions, its pointer, documents, damage."""

from pathlib import Path

import pytest
import torch

from unlearn.errors import BadInput
from unlearn.gallery import Gallery
from unlearn.models import Weights

WEIGHTS: Weights = {"a": torch.arange(6.0).view(2, 3).T, "n": torch.tensor(3)}
VARIANTS = {"amnesiac": WEIGHTS, "original": WEIGHTS, "oracle": WEIGHTS}


def test_promotion_and_rollback_move_the_pointer(tmp_path: Path) -> None:
    gallery = Gallery(str(tmp_path))
    first = gallery.publish("digits", VARIANTS, {"knob": 1})
    assert gallery.publish("digits", VARIANTS, {"knob": 1}) == first
    second = gallery.publish("digits", VARIANTS, {"knob": 2})
    assert (gallery.names(), gallery.current("digits")) == (["digits"], second)
    assert gallery.rollback("digits") == first == gallery.current("digits")
    assert torch.equal(gallery.load("digits", second, "oracle")["a"], WEIGHTS["a"])
    with pytest.raises(BadInput, match="no version before"):
        gallery.rollback("digits")


def test_a_version_is_named_by_its_content_and_the_models_name(tmp_path: Path) -> None:
    gallery = Gallery(str(tmp_path))
    changed = {**VARIANTS, "amnesiac": {"a": torch.zeros(1)}}
    versions = {
        gallery.publish("digits", VARIANTS, {"knob": 1}),
        gallery.publish("other", VARIANTS, {"knob": 1}),
        gallery.publish("digits", changed, {"knob": 1}),
    }
    assert len(versions) == 3
    assert gallery.names() == ["digits", "other"]
    assert len(gallery.versions("digits")) == 2
    with pytest.raises(BadInput, match="needs amnesiac, original, oracle, not original"):
        gallery.publish("digits", {"original": WEIGHTS}, {})


@pytest.mark.parametrize("name", ["card.json", "amnesiac.safetensors", "oracle.safetensors"])
def test_promoting_again_repairs_a_damaged_version(name: str, tmp_path: Path) -> None:
    gallery = Gallery(str(tmp_path))
    version = gallery.publish("digits", VARIANTS, {"knob": 1})
    path = tmp_path / "digits" / version / name
    good = path.read_bytes()
    for damage in (lambda: path.write_bytes(b"{}"), path.unlink):
        damage()
        assert gallery.publish("digits", VARIANTS, {"knob": 1}) == version
        assert path.read_bytes() == good
    assert gallery.history("digits") == [version]
    assert torch.equal(gallery.load("digits", version, "amnesiac")["a"], WEIGHTS["a"])


def test_promoting_again_writes_no_undamaged_file(tmp_path: Path) -> None:
    gallery = Gallery(str(tmp_path))
    version = gallery.publish("digits", VARIANTS, {"knob": 1})

    def inodes() -> dict[Path, int]:
        return {path: path.stat().st_ino for path in (tmp_path / "digits" / version).iterdir()}

    before = inodes()
    gallery.publish("digits", VARIANTS, {"knob": 1})
    assert inodes() == before


def test_gallery_refusals(tmp_path: Path) -> None:
    gallery = Gallery(str(tmp_path))
    with pytest.raises(BadInput, match="letters"):
        gallery.publish("../x", VARIANTS, {})
    with pytest.raises(BadInput, match="no model 'digits'"):
        gallery.current("digits")
    version = gallery.publish("digits", VARIANTS, {})
    with pytest.raises(BadInput, match="unknown variant"):
        gallery.load("digits", version, "../original")
    (tmp_path / "digits" / "current").write_text("[]")
    with pytest.raises(BadInput, match=r"damaged; promote 'digits' again"):
        gallery.current("digits")
    assert gallery.publish("digits", VARIANTS, {}) == version == gallery.current("digits")


def published(folder: Path, documents: dict[str, bytes]) -> Gallery:
    """A gallery with one version of one tensor, and documents."""
    gallery = Gallery(str(folder))
    variants = {variant: {"w": torch.zeros(2)} for variant in VARIANTS}
    gallery.publish("m", variants, {"task": "t"}, documents)
    return gallery


def test_documents_are_kept_beside_the_weights_and_verified(tmp_path: Path) -> None:
    gallery = published(tmp_path, {"row.json": b"{}", "a.png": b"png"})
    version = gallery.current("m")
    assert gallery.document("m", version, "row.json") == b"{}"
    assert set(gallery.checksums("m", version)) == {
        *(f"{variant}.safetensors" for variant in VARIANTS),
        "row.json",
        "a.png",
    }
    (tmp_path / "m" / version / "a.png").write_bytes(b"other")
    with pytest.raises(BadInput, match="SHA-256 differs"):
        gallery.document("m", version, "a.png")
    with pytest.raises(FileNotFoundError, match=r"has no b\.png"):
        gallery.document("m", version, "b.png")


def test_a_version_without_documents_keeps_its_name(tmp_path: Path) -> None:
    plain, with_row = published(tmp_path / "a", {}), published(tmp_path / "b", {"row.json": b"{}"})
    assert "documents" not in plain.card("m")
    assert plain.current("m") != with_row.current("m")


@pytest.mark.parametrize("name", ["card.json", "../a.json", "a/b.png", ".a.png", "a.txt", ""])
def test_a_document_has_a_plain_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadInput, match="choose another name"):
        published(tmp_path, {name: b""})
    assert not (tmp_path / "m").exists()


def test_a_stamp_changes_with_the_file(tmp_path: Path) -> None:
    gallery = published(tmp_path, {"row.json": b"{}"})
    version = gallery.current("m")
    before = gallery.stamp("m", version, "row.json")
    assert gallery.stamp("m", version, "row.json") == before
    (tmp_path / "m" / version / "row.json").write_bytes(b"{ }")
    after = gallery.stamp("m", version, "row.json")
    assert after not in (before, "")
    assert gallery.stamp("m", version, "gone.json") == ""
