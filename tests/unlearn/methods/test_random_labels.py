"""Random labels: which labels are drawn, and what is read."""

import torch

from tests.unlearn.world import World, apply
from unlearn.methods.random_labels import RandomLabels


def test_labels_are_drawn_from_the_retained_or_from_all_classes(several: World) -> None:
    kept = RandomLabels(labels="kept").replacement_labels(several.splits)
    assert kept.tolist() == [2, 3, 4, 5, 6, 7, 8, 9]
    every = RandomLabels(labels="all").replacement_labels(several.splits)
    assert every.tolist() == list(range(10))


def test_with_alpha_0_retained_images_are_never_read(one: World) -> None:
    made = apply("random-labels", {"alpha": 0.0, "steps": 4}, one)
    assert set(made.curve) == {"step", "forget"}
    buffers = dict(one.model.named_buffers())
    assert all(torch.equal(made.weights[name], buffer) for name, buffer in buffers.items())
