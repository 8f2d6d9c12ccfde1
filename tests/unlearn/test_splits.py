"""Images, their batches, and how they are divided: every image is in exactly one place."""

import pytest
import torch

from unlearn.errors import BadInput
from unlearn.splits import Dataset, Images, check_forget, stratified_split
from unlearn.streams import stream


def numbered(n: int, classes: int = 10) -> Images:
    """n images of one pixel whose value is their index; labels 0, 1, .., classes - 1, 0, 1, .."""
    x = torch.arange(n, dtype=torch.uint8).view(n, 1, 1, 1)
    return Images(x, torch.arange(n) % classes)


def indices(images: Images) -> list[int]:
    """The indices of numbered images, in their order."""
    return images.x.flatten().tolist()


def test_images_need_one_label_each() -> None:
    with pytest.raises(BadInput, match="2 images but 3 labels"):
        Images(torch.zeros(2, 1, 1, 1, dtype=torch.uint8), torch.zeros(3))


def test_pixels_are_bytes_over_255() -> None:
    images = Images(torch.tensor([0, 51, 255], dtype=torch.uint8).view(3, 1, 1, 1), torch.zeros(3))
    assert images.pixels().flatten().tolist() == pytest.approx([0.0, 0.2, 1.0])
    x, _ = next(images.batches(3, stream(0, "b")))
    assert sorted(x.flatten().tolist()) == pytest.approx([0.0, 0.2, 1.0])


def test_take_keeps_images_and_labels_together() -> None:
    taken = numbered(10).take(torch.tensor([7, 2]))
    assert indices(taken) == taken.y.tolist() == [7, 2]


def test_pieces_cover_all_images_in_order_a_hundred_at_a_time_on_a_cpu() -> None:
    pieces = list(numbered(230).pieces())
    assert [len(piece) for piece in pieces] == [100, 100, 30]
    assert [index for piece in pieces for index in indices(piece)] == list(range(230))


def test_batches_show_every_image_once_per_epoch() -> None:
    batches = numbered(10).batches(5, stream(0, "b"))
    seen = torch.cat([next(batches)[1] for _ in range(4)])
    assert sorted(seen[:10].tolist()) == sorted(seen[10:].tolist()) == list(range(10))
    assert seen[:10].tolist() != seen[10:].tolist()


def test_a_last_batch_that_is_short_is_left_out() -> None:
    batches = numbered(10).batches(4, stream(0, "b"))
    labels = [next(batches)[1].tolist() for _ in range(3)]
    assert [len(batch) for batch in labels] == [4, 4, 4]
    assert len({*labels[0], *labels[1]}) == 8  # one epoch: 2 of 10 images are left out
    torch_order = torch.randperm(10, generator=stream(0, "b")).tolist()
    assert labels[0] + labels[1] == torch_order[:8]


def test_a_batch_larger_than_the_set_is_the_set() -> None:
    batches = numbered(3).batches(64, stream(0, "b"))
    assert sorted(next(batches)[1].tolist()) == [0, 1, 2]
    assert sorted(next(batches)[1].tolist()) == [0, 1, 2]


def test_no_images_give_no_batch() -> None:
    with pytest.raises(BadInput, match="no images to train on"):
        next(numbered(0).batches(4, stream(0, "b")))


def test_splits_are_balanced_and_partition_every_split(digits: Dataset) -> None:
    assert [len(part) for part in (digits.train, digits.val, digits.test)] == [3500, 500, 1000]
    splits = digits.split([3, 7])
    for split, whole in (("train", digits.train), ("val", digits.val), ("test", digits.test)):
        part = getattr(splits, split)
        assert set(part.forget.y.tolist()) == {3, 7}
        assert not set(part.retain.y.tolist()) & {3, 7}
        assert len(part.forget) + len(part.retain) == len(whole)
        assert whole.y.bincount().tolist() == [len(whole) // 10] * 10


def test_parts_are_named_by_what_they_hold() -> None:
    """Three sets of 2, 4 and 6 images; half of each is class 1, which is forgotten."""
    data = Dataset("tiny", numbered(2, 2), numbered(4, 2), numbered(6, 2), 2)
    parts = [(split, part, indices(images)) for split, part, images in data.split([1]).parts()]
    assert parts == [
        ("train", "forget", [1]),
        ("train", "retain", [0]),
        ("val", "forget", [1, 3]),
        ("val", "retain", [0, 2]),
        ("test", "forget", [1, 3, 5]),
        ("test", "retain", [0, 2, 4]),
    ]


def test_the_shape_is_channels_height_width() -> None:
    images = Images(torch.zeros(2, 3, 4, 5, dtype=torch.uint8), torch.arange(2))
    assert Dataset("tiny", images, images, images, 2).shape == (3, 4, 5)


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


def test_a_stratified_split_is_repeatable_and_disjoint(digits: Dataset) -> None:
    once, rest = stratified_split(digits.test, 7)
    again, _ = stratified_split(digits.test, 7)
    assert torch.equal(once.x, again.x)
    assert (len(once), len(rest)) == (70, 930)


def test_a_stratified_split_chooses_per_class_and_keeps_the_order() -> None:
    """12 images of classes 0, 1, 2, 0, ..: 1 of each class is chosen, 9 are left."""
    chosen, rest = stratified_split(numbered(12, 3), 1)
    assert sorted(chosen.y.tolist()) == [0, 1, 2]
    assert indices(chosen) == sorted(indices(chosen))
    assert indices(rest) == sorted(set(range(12)) - set(indices(chosen)))
    first_of_class_2 = torch.randperm(4, generator=stream(0, "cut", 2))[0].item()
    assert 2 + 3 * first_of_class_2 in indices(chosen)  # class 2 is images 2, 5, 8, 11
    other_seed, _ = stratified_split(numbered(120, 3), 10, seed=1)
    assert indices(other_seed) != indices(stratified_split(numbered(120, 3), 10)[0])
