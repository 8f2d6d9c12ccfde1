"""Target images and the batches of Selective Amnesia."""

import pytest
import torch

from tests.unlearn.methods.tiny import GreyGenerator
from unlearn.generators.replay import amnesia_batch, replay_pool
from unlearn.generators.targets import TARGETS, draw_labels
from unlearn.models.base import Classifying, Generative
from unlearn.splits import Splits
from unlearn.streams import stream


def test_targets_draw_what_they_say(
    original: Generative, splits: Splits, grader: Classifying
) -> None:
    kept = splits.train.retain.y.unique()
    noise, grey, other = (
        TARGETS[name](original, 100, kept, stream(0, name)) for name in ("noise", "grey", "class")
    )
    assert noise.mean().item() == pytest.approx(0.5, abs=0.01)
    assert noise.var().item() == pytest.approx(1 / 12, abs=0.005)
    assert torch.equal(grey, torch.full_like(grey, 0.5))
    seen = grader(other).argmax(1)
    assert (seen != 0).float().mean() > 0.9
    assert torch.isin(seen, kept).float().mean() > 0.7


def test_images_of_another_class_are_all_different(original: Generative) -> None:
    images = TARGETS["class"](original, 20, torch.tensor([3]), stream(0, "class"))
    assert len({tuple(image.flatten().tolist()) for image in images}) == 20


def test_labels_are_drawn_uniformly_out_of_those_given() -> None:
    labels = draw_labels(GreyGenerator(), torch.tensor([0, 2]), 2000, stream(0, "labels"))
    shares = labels.mean(0)
    assert shares[1] == 0
    assert shares[0].item() == pytest.approx(0.5, abs=0.05)  # 4.5 standard deviations


@pytest.mark.parametrize("pooled", [False, True])
def test_a_batch_is_half_targets_of_forgotten_and_half_images_of_retained_labels(
    pooled: bool, original: Generative, splits: Splits
) -> None:
    forget, retain = splits.train.forget.y.unique(), splits.train.retain.y.unique()
    pool = replay_pool(original, retain, 7, stream(0, "pool")) if pooled else None
    target = TARGETS["grey"]
    x, c = amnesia_batch(original, forget, retain, 20, stream(0, "batch"), target, pool)
    assert x.shape == (40, *original.shape)
    assert (x[:20] == 0.5).all()
    assert (x[20:] != 0.5).any()
    assert (c[:20].argmax(1) == 0).all()
    assert torch.isin(c[20:].argmax(1), retain).all()


def test_a_pool_is_drawn_once_and_its_images_keep_their_labels(
    original: Generative, splits: Splits
) -> None:
    forget, retain = splits.train.forget.y.unique(), splits.train.retain.y.unique()
    images, labels = pool = replay_pool(original, retain, 7, stream(0, "pool"))
    assert torch.isin(labels.argmax(1), retain).all()
    x, c = amnesia_batch(original, forget, retain, 20, stream(0, "batch"), pool=pool)
    for image, label in zip(x[20:], c[20:], strict=True):
        same = [torch.equal(image, other) for other in images]
        assert torch.equal(label, labels[same.index(True)])


def test_a_large_pool_is_the_same_images_chunk_by_chunk(original: Generative) -> None:
    retain = torch.tensor([1, 2])
    images, labels = replay_pool(original, retain, 1003, stream(0, "pool"))
    generator = stream(0, "pool")
    c = draw_labels(original, retain, 1003, generator)
    z = torch.randn(1003, original.z_dim, generator=generator)
    assert torch.equal(labels, c)
    with torch.no_grad():
        torch.testing.assert_close(images[1000:], original(z[1000:], c[1000:]))
