"""The model cache and the catalog, without a service."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from serve.catalog import Catalog, ModelKey, UnknownModel, Unservable
from serve.models import ModelCache
from unlearn.evaluation import draw
from unlearn.gallery import VARIANTS, Gallery
from unlearn.models import build
from unlearn.splits import Dataset


def test_generate_draws_from_the_model_with_the_stream_of_serving(made: Path) -> None:
    gallery = Gallery(str(made))
    entry = Catalog(gallery).entry("digits")
    images = ModelCache(gallery).generate(entry.key("oracle"), 3, 5, 7)
    model = build("cvae-mlp", (1, 28, 28), 10, gallery.load("digits", entry.version, "oracle"))
    expected = draw(model, [3], 5, 7, "serve")[0].numpy()
    assert images.shape == (5, 1, 28, 28)
    assert np.abs(images / 255 - expected).max() <= 0.5 / 255 + 1e-6  # half a grey level


def test_every_argument_changes_the_images_and_repetition_does_not(made: Path) -> None:
    gallery = Gallery(str(made))
    entry, cache = Catalog(gallery).entry("digits"), ModelCache(gallery)
    asks = [
        ("original", 3, 4, 0),
        ("oracle", 3, 4, 0),
        ("original", 4, 4, 0),
        ("original", 3, 4, 1),
    ]
    drawn = [
        cache.generate(entry.key(variant), label, n, seed).tobytes()
        for variant, label, n, seed in asks
    ]
    assert len(set(drawn)) == len(asks)
    assert drawn[0] == ModelCache(gallery).generate(entry.key("original"), 3, 4, 0).tobytes()


def test_a_full_cache_still_answers(made: Path) -> None:
    gallery = Gallery(str(made))
    entry, small = Catalog(gallery).entry("digits"), ModelCache(gallery, capacity=1)
    for variant in VARIANTS * 2:
        assert small.generate(entry.key(variant), 0, 1, 0).shape == (1, 1, 28, 28)


@pytest.mark.parametrize("batch", [8, 64])
@pytest.mark.parametrize("name", ["cvae-mlp", "cvae-conv"])
def test_an_image_has_the_same_bytes_whatever_it_is_drawn_with(
    name: str, batch: int, tmp_path: Path
) -> None:
    gallery = untrained(name, tmp_path)
    key = Catalog(gallery).entry("made").key("amnesiac")
    asks = [(label, n, seed) for label in (0, 7) for n in (1, 3, 20) for seed in (0, 1)]
    alone = [ModelCache(gallery, batch=batch).generate(key, *ask).tobytes() for ask in asks]
    cache = ModelCache(gallery, batch=batch)
    with ThreadPoolExecutor(len(asks)) as pool:
        together = [
            image.tobytes() for image in pool.map(lambda ask: cache.generate(key, *ask), asks)
        ]
    assert together == alone


def untrained(name: str, root: Path) -> Gallery:
    """A gallery of one generator with random weights."""
    torch.manual_seed(0)
    weights = build(name, (1, 28, 28), 10).state_dict()
    card = {"task": "generator", "model": name, "shape": [1, 28, 28], "classes": 10, "forget": [1]}
    gallery = Gallery(str(root))
    gallery.publish("made", dict.fromkeys(VARIANTS, weights), card)
    return gallery


def test_requests_that_wait_share_a_batch(tmp_path: Path) -> None:
    """While the first model loads, others queue; they are drawn by one run of the network."""
    gallery = untrained("cvae-mlp", tmp_path)
    key = Catalog(gallery).entry("made").key("amnesiac")
    queued = threading.Event()
    runs: list[int] = []

    def load(key: ModelKey, seconds: float) -> None:
        queued.wait(30)

    cache = ModelCache(gallery, batch=64, on_load=load)
    hook = torch.nn.modules.module.register_module_forward_hook(
        lambda module, given, made: runs.append(len(made)) if hasattr(module, "z_dim") else None
    )
    with ThreadPoolExecutor(9) as pool:
        first = pool.submit(cache.generate, key, 1, 4, 0)
        others = [pool.submit(cache.generate, key, 2, 4, seed) for seed in range(8)]
        threading.Timer(0.5, queued.set).start()
        sizes = {len(asked.result()) for asked in [first, *others]}
    hook.remove()
    assert sizes == {4}
    assert runs == [64, 64]


def test_a_model_that_cannot_be_loaded_fails_every_request_of_its_batch(tmp_path: Path) -> None:
    gallery = untrained("cvae-mlp", tmp_path)
    key = Catalog(gallery).entry("made").key("amnesiac")
    weights = tmp_path / "made" / key.version / "amnesiac.safetensors"
    weights.write_bytes(b"damaged")
    cache = ModelCache(gallery, batch=8)
    with ThreadPoolExecutor(3) as pool:
        asked = [pool.submit(cache.generate, key, 1, 1, seed) for seed in range(3)]
        for each in asked:
            with pytest.raises(Unservable, match="damaged"):
                each.result()


def test_loads_are_told_once_per_model(made: Path) -> None:
    gallery = Gallery(str(made))
    entry, told = Catalog(gallery).entry("digits"), []
    cache = ModelCache(
        gallery, on_load=lambda key, seconds: told.append((key.variant, seconds > 0))
    )
    for variant in ("oracle", "oracle", "original"):
        cache.generate(entry.key(variant), 0, 1, 0)
    assert told == [("oracle", True), ("original", True)]


def test_a_known_entry_is_read_again_when_its_files_change(gallery: Gallery) -> None:
    catalog = Catalog(gallery)
    assert catalog.known("digits") is None
    newest = catalog.entry("digits")
    assert catalog.known("digits") is newest
    older = gallery.rollback("digits")
    assert catalog.known("digits") is None
    assert catalog.entry("digits").version == older
    card = Path(gallery.root) / "digits" / older / "card.json"
    card.write_text("{")
    assert catalog.known("digits") is None
    with pytest.raises(Unservable):
        catalog.entry("digits")


def test_classify_reads_real_digits_and_only_the_original_reads_ones(
    made: Path, digits: Dataset
) -> None:
    gallery = Gallery(str(made))
    entry, cache = Catalog(gallery).entry("reader"), ModelCache(gallery)
    ones = digits.test.take(digits.test.y == 1).pixels().numpy()
    before, after = (
        cache.classify(entry.key(variant), ones) for variant in ("original", "amnesiac")
    )
    assert np.allclose(before.sum(1), 1)
    assert (before.argmax(1) == 1).mean() > 0.8
    assert (after.argmax(1) == 1).mean() < 0.05


@pytest.mark.parametrize(
    "name", ["nope", "", "..", ".", "../digits", "digits/..", "a\0b", "%2e%2e", "x" * 999]
)
def test_an_unknown_name_is_refused_with_the_known_ones_and_never_leaves_the_gallery(
    gallery: Gallery, name: str
) -> None:
    with pytest.raises(UnknownModel, match="known: digits, reader"):
        Catalog(gallery).entry(name)


def edit_card(gallery: Gallery, **change: object) -> None:
    path = Path(gallery.root) / "digits" / gallery.current("digits") / "card.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))


@pytest.mark.parametrize(
    "change",
    [
        {"task": "poet"},
        {"task": ["generator"]},
        {"task": "classifier"},
        {"model": "gpt"},
        {"model": None},
        {"shape": [1, 28]},
        {"shape": [0, 28, 28]},
        {"shape": "1x28x28"},
        {"classes": 0},
        {"classes": "ten"},
        {"classes": True},
        {"forget": []},
        {"forget": [10]},
        {"forget": [], "subset": "random 0.1"},
        {"subset": 3},
        {"forget": 1},
        {"sha256": {}},
        {"sha256": None},
        {"format": "other/9"},
        {"scores": {"x": float("nan")}},
        {"method": "\ud800"},
    ],
    ids=str,
)
def test_a_foreign_card_is_refused_and_hides_no_other_model(
    gallery: Gallery, change: dict[str, object]
) -> None:
    edit_card(gallery, **change)
    with pytest.raises(
        Unservable, match=r"^model 'digits' cannot be served: .*promote it again or roll it back$"
    ):
        Catalog(gallery).entry("digits")
    damaged, sound = Catalog(gallery).cards()
    assert damaged["name"] == "digits"
    assert "cannot be served" in damaged["error"]
    assert (sound["name"], sound["task"]) == ("reader", "classifier")


def test_a_classifier_that_forgot_no_whole_class_is_served(tmp_path: Path) -> None:
    torch.manual_seed(0)
    weights = build("cnn", (1, 28, 28), 10).state_dict()
    card = {"task": "classifier", "model": "cnn", "shape": [1, 28, 28], "classes": 10}
    card |= {"forget": [], "subset": "random 0.1"}
    gallery = Gallery(str(tmp_path))
    gallery.publish("part", dict.fromkeys(VARIANTS, weights), card)
    served = Catalog(gallery).entry("part").public()
    assert (served["forget"], served["subset"]) == ([], "random 0.1")


@pytest.mark.parametrize(
    "pointer",
    ["", "[]", "{}", '{"history": []}', '{"history": [3]}', '{"history": "../x"}', "\xff"],
)
def test_a_damaged_pointer_is_refused_by_name(gallery: Gallery, pointer: str) -> None:
    (Path(gallery.root) / "digits" / "current").write_text(pointer, encoding="latin-1")
    with pytest.raises(Unservable, match="digits"):
        Catalog(gallery).entry("digits")


@pytest.mark.parametrize("damage", ["flipped", "missing", "other model", "not finite"])
def test_damaged_weights_are_refused_by_name_without_their_path(
    gallery: Gallery, damage: str
) -> None:
    version = gallery.current("digits")
    if damage in ("flipped", "missing"):
        path = Path(gallery.root) / "digits" / version / "amnesiac.safetensors"
        data = path.read_bytes()
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        if damage == "missing":
            path.unlink()
    elif damage == "other model":
        edit_card(gallery, model="cvae-mlp-expanding")
    else:
        weights = {variant: gallery.load("digits", version, variant) for variant in VARIANTS}
        weights["amnesiac"]["pixels.bias"].fill_(torch.nan)
        gallery.publish("digits", weights, {**gallery.card("digits"), "seed": 1})
    key = Catalog(gallery).entry("digits").key("amnesiac")
    with pytest.raises(Unservable, match=r"^model 'digits' cannot be served: ") as caught:
        ModelCache(gallery).generate(key, 0, 1, 0)
    assert gallery.root not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_users_own_builder_runs_only_if_allowed(gallery: Gallery) -> None:
    """A card names a callable; a gallery from elsewhere must not choose which code runs."""
    edit_card(gallery, model="tests.nowhere:builder")
    with pytest.raises(
        Unservable, match=r"allow it with `amnesia serve --builder tests\.nowhere:builder`"
    ):
        Catalog(gallery).entry("digits")
    edit_card(gallery, model="unlearn.models.cvae:CVAE", options={"z_dim": 8})
    catalog = Catalog(gallery, ("unlearn.models.cvae:CVAE",))
    key = catalog.entry("digits").key("amnesiac")
    assert ModelCache(gallery).generate(key, 0, 1, 0).shape == (1, 1, 28, 28)


def test_the_catalog_sees_a_rollback_at_once(gallery: Gallery) -> None:
    catalog = Catalog(gallery)
    newest = catalog.entry("digits").version
    older = gallery.rollback("digits")
    assert (catalog.entry("digits").version, newest != older) == (older, True)
