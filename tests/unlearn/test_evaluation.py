"""Evidence, worked out by hand on networks of a few numbers."""

import math

import pytest
import torch
from torch import Tensor, nn

from unlearn.evaluation import (
    ClassifierEvaluator,
    GeneratorEvaluator,
    draw,
    evenly_spaced,
)
from unlearn.models.base import Classifying, Generative
from unlearn.splits import Dataset, Images, Split, Splits
from unlearn.streams import stream


class LatentGenerator(Generative):
    """Shows the latent's logit in the first pixel and the label's in the second."""

    shape, classes, z_dim = (1, 1, 2), 3, 1

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))  # tells the device
        self.encoded: list[int] = []

    def encode(self, x: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        """q(z) = N(1, 1), so the KL is 1/2."""
        self.encoded.append(len(x))
        return torch.ones(len(x), 1), torch.zeros(len(x), 1)

    def decode(self, z: Tensor, c: Tensor) -> Tensor:
        label = c.argmax(1, keepdim=True).float()
        return torch.cat([z, label], 1).view(-1, 1, 1, 2)


class BlankGenerator(LatentGenerator):
    """Answers 1/2 for both pixels."""

    def decode(self, z: Tensor, c: Tensor) -> Tensor:
        return torch.zeros(len(z), *self.shape)


class PixelJudge(Classifying):
    """Features are the pixels; logits are a multiple of them."""

    def __init__(self, rows: list[list[float]]) -> None:
        super().__init__()
        self.rows = torch.tensor(rows)
        self.head = nn.Linear(len(rows[0]), len(rows), bias=False)
        self.head.weight = nn.Parameter(self.rows, requires_grad=False)

    def features(self, x: Tensor) -> Tensor:
        return x.flatten(1)


def two_pixels(first: list[int], second: list[int], labels: list[int]) -> Images:
    x = torch.tensor([first, second], dtype=torch.uint8).T.reshape(-1, 1, 1, 2)
    return Images(x, torch.tensor(labels))


TEST = two_pixels([0, 255, 0, 255], [255, 0, 0, 255], [0, 1, 2, 2])
DATASET = Dataset("toy", TEST, TEST, TEST, 3)
LEAD = PixelJudge([[0.0, 1.0], [1.0, 0.0], [0.1, 0.1], [0.0, 0.0]])  # the fourth is the reject
VAL = PixelJudge([[2.0, 1.0], [1.0, 2.0], [0.0, 3.0], [0.0, 0.0]])
PLAIN = PixelJudge([[1.0, 1.0], [0.0, 2.0], [0.0, 0.0]])


def evaluator(samples: int = 5) -> GeneratorEvaluator:
    judges = {"lead": LEAD, "val": VAL, "plain-0": PLAIN}
    return GeneratorEvaluator(DATASET, (1,), judges, samples, seed=7)


def shown(purpose: str, samples: int = 5) -> Tensor:
    """The images that `LatentGenerator` must show, (3, samples, 1, 1, 2)."""
    images = torch.zeros(3, samples, 1, 1, 2)
    for label in range(3):
        z = torch.randn(samples, 1, generator=stream(7, purpose, label))
        images[label, :, 0, 0, 0] = z.squeeze(1).sigmoid()
        images[label, :, 0, 0, 1] = torch.tensor(float(label)).sigmoid()
    return images


def test_drawn_images_follow_from_seed_purpose_and_label() -> None:
    images = draw(LatentGenerator(), [2, 0], 5, 7, "test")
    torch.testing.assert_close(images, shown("test")[[2, 0]])


def test_labels_and_judges_are_named_by_their_part() -> None:
    assert evaluator().kept == [0, 2]
    assert evaluator().plain == ["plain-0"]


def test_test_and_val_have_their_own_latents_and_judges() -> None:
    evidence = evaluator().observe(LatentGenerator())
    test, val = shown("test"), shown("val")
    torch.testing.assert_close(evidence.test.images, test)
    torch.testing.assert_close(evidence.val.images, val)
    assert list(evidence.test.probabilities) == ["lead", "plain-0"]
    assert list(evidence.val.probabilities) == ["val"]
    for name, judge in (("lead", LEAD), ("plain-0", PLAIN)):
        logits = test.flatten(2) @ judge.rows.T
        torch.testing.assert_close(evidence.test.probabilities[name], logits.softmax(2))
    val_logits = val.flatten(2) @ VAL.rows.T
    torch.testing.assert_close(evidence.val.probabilities["val"], val_logits.softmax(2))
    torch.testing.assert_close(evidence.test.features, test.flatten(2))
    torch.testing.assert_close(evidence.val.features, val.flatten(2))


def test_the_bound_is_the_elbo_of_real_images_in_nats() -> None:
    """Two pixels of probability 1/2 and a KL of 1/2."""
    bounds = evaluator().observe(BlankGenerator()).bounds
    assert bounds.tolist() == pytest.approx([-(2 * math.log(2) + 0.5)] * 3)


def test_the_bound_reads_at_most_100_images_per_class() -> None:
    many = two_pixels([0] * 120 + [1] * 30, [0] * 150, [0] * 120 + [1] * 30)
    model = BlankGenerator()
    data = Dataset("toy", many, many, many, 2)
    GeneratorEvaluator(data, (1,), {"lead": LEAD, "val": VAL}, 1, 0).observe(model)
    assert model.encoded == [100, 30]


def test_the_real_features_are_the_leads_by_class() -> None:
    features = evaluator().real_features
    assert [tensor.tolist() for tensor in features] == [
        [[0.0, 1.0]],
        [[1.0, 0.0]],
        [[0.0, 0.0], [1.0, 1.0]],
    ]


def test_a_judges_accuracy_counts_a_wrong_class_as_wrong() -> None:
    """LEAD is right on images 0 and 1, and answers 0 to both images of class 2."""
    assert evaluator().judge_accuracy["lead"] == 0.5


@pytest.mark.parametrize(
    ("n", "most", "indices"),
    [(5, 3, [0, 2, 4]), (10, 4, [0, 3, 6, 9]), (3, 5, [0, 1, 2]), (4, 3, [0, 2, 3]), (1, 1, [0])],
)
def test_evenly_spaced_indices_reach_from_the_first_to_the_last(
    n: int, most: int, indices: list[int]
) -> None:
    assert evenly_spaced(n, most).tolist() == indices


def column(n: int, label: int) -> Images:
    """n images of one pixel, whose value is the index modulo 251."""
    x = (torch.arange(n) % 251).to(torch.uint8).view(n, 1, 1, 1)
    return Images(x, torch.full((n,), label))


def splits() -> Splits:
    return Splits(
        train=Split(forget=column(10, 1), retain=column(5003, 0)),
        val=Split(forget=column(3, 1), retain=column(4, 0)),
        test=Split(forget=column(700, 1), retain=column(5, 0)),
    )


CLASSIFIER = PixelJudge([[1.0], [2.0]])


def test_logits_of_every_part_and_labels_beside_them() -> None:
    evidence = ClassifierEvaluator(splits(), (1,), 2).observe(CLASSIFIER)
    parts = [(split, part) for split in ("train", "val", "test") for part in ("forget", "retain")]
    assert list(evidence.logits) == list(evidence.labels) == parts
    pixel = torch.arange(4) / 255
    expected = torch.stack([pixel, 2 * pixel], 1)
    torch.testing.assert_close(evidence.logits["val", "retain"], expected)
    assert evidence.labels["val", "retain"].tolist() == [0] * 4
    # logit 1 is larger but for the black image, where both are 0 and the first wins
    assert evidence.correct("val", "forget").tolist() == [False, True, True]
    assert evidence.correct("val", "retain").tolist() == [True, False, False, False]


def test_at_most_5000_training_images_are_read_evenly_spaced() -> None:
    evidence = ClassifierEvaluator(splits(), (1,), 2).observe(CLASSIFIER)
    sizes = {key: len(logits) for key, logits in evidence.logits.items()}
    assert sizes["train", "retain"] == 5000 == len(evidence.labels["train", "retain"])
    assert sizes["train", "forget"] == 10
    assert (sizes["test", "forget"], sizes["test", "retain"]) == (700, 5)
    pixels = evidence.logits["train", "retain"][:, 0] * 255
    expected = evenly_spaced(5003, 5000) % 251
    assert pixels.round().long().tolist() == expected.tolist()


def test_features_of_at_most_500_test_images_are_kept() -> None:
    evidence = ClassifierEvaluator(splits(), (1,), 2).observe(CLASSIFIER)
    assert set(evidence.features) == {"forget", "retain"}
    kept = (evidence.features["forget"][:, 0] * 255).round().long()
    assert kept.tolist() == (evenly_spaced(700, 500) % 251).tolist()
    assert evidence.features["retain"].shape == (5, 1)


def test_a_plain_module_has_logits_and_no_features() -> None:
    plain = nn.Sequential(nn.Flatten(), nn.Linear(1, 2))
    evidence = ClassifierEvaluator(splits(), (1,), 2).observe(plain)
    assert evidence.features == {}
    images = splits().val.forget
    torch.testing.assert_close(evidence.logits["val", "forget"], plain(images.pixels()))


def test_random_weights_are_drawn_once_per_architecture() -> None:
    evaluator = ClassifierEvaluator(splits(), (1,), 2)

    def make(width: int) -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(1, width), nn.Linear(width, 2))

    first, second, wider = (evaluator.observe(make(width)).random for width in (3, 3, 4))
    assert first is second
    assert first is not wider
    assert first is not None
    assert first.shape == (700, 2)  # on test-forget
