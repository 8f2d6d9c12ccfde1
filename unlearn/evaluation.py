"""Collect evidence of what a model does; every metric of its task reads the same evidence."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from unlearn.generators.judges import read
from unlearn.models.base import Classifying, Generative
from unlearn.models.fresh import fresh
from unlearn.objectives import negative_elbo
from unlearn.splits import Dataset, Images, Splits
from unlearn.streams import stream

FAINT = 0.6  # contrast of the faint test images that judges are checked on
MAX_FAINT = 1000  # of these images
ELBO_IMAGES = 100  # test images per class whose ELBO is taken
MAX_FEATURES = 500  # images of each test part whose features are kept
MAX_TRAIN_IMAGES = 5000  # images of each training part that are read


@dataclass(frozen=True)
class JudgedSamples:
    """A generator's images of every label, and what the judges read in them.

    images: (classes, n, channels, height, width), pixels in [0, 1]
    probabilities: judge -> (classes, n, outputs), each judge's class probabilities
    features: (classes, n, d), features of the first judge: `lead` for test, `val` for val
    """

    images: Tensor
    probabilities: dict[str, Tensor]
    features: Tensor


@dataclass(frozen=True)
class GeneratorEvidence:
    """What a generator shows.

    test: images for the reported scores
    val: images for choosing, from other latents and read by another judge
    bounds: (classes,), mean ELBO of real test images of each class under their own label, nats per
        image
    """

    test: JudgedSamples
    val: JudgedSamples
    bounds: Tensor


@dataclass(frozen=True)
class GeneratorEvaluator:
    """Everything that a generator is scored against.

    dataset: real images
    forget: labels to forget
    judges: the networks `lead`, `val`, perhaps `referee`, and the plain judges, by name, in eval
        mode
    samples: images drawn per label, for test and again for val
    seed: seed of all latents
    """

    dataset: Dataset
    forget: tuple[int, ...]
    judges: Mapping[str, Classifying]
    samples: int
    seed: int

    @property
    def plain(self) -> list[str]:
        """Names of the plain judges."""
        return [name for name in self.judges if name not in ("lead", "val", "referee")]

    @property
    def kept(self) -> list[int]:
        """Labels that are not forgotten."""
        return [label for label in range(self.dataset.classes) if label not in self.forget]

    @cached_property
    def real_features(self) -> list[Tensor]:
        """The lead judge's features of real test images, (n, d), one tensor per class."""
        test = self.dataset.test
        _, features = read(self.judges["lead"], test.pixels())
        return [features[test.y == label] for label in range(self.dataset.classes)]

    @cached_property
    def judge_accuracy(self) -> dict[str, float]:
        """Accuracy of each judge on real test images, in [0, 1]; a reject counts as wrong."""
        return self._accuracies(self.dataset.test, 1.0)

    @cached_property
    def judge_faint_accuracy(self) -> dict[str, float]:
        """The same on up to 1,000 test images at 60 % of their contrast, faded to mid-grey."""
        test = self.dataset.test
        some = evenly_spaced(len(test), MAX_FAINT).to(test.y.device)
        return self._accuracies(test.take(some), FAINT)

    def _accuracies(self, images: Images, contrast: float) -> dict[str, float]:
        """Accuracy of each judge on the images at a share of their contrast."""
        pixels = images.pixels()
        if contrast < 1:
            pixels = 0.5 + contrast * (pixels - 0.5)
        accuracies = {}
        for name, judge in self.judges.items():
            probabilities, _ = read(judge, pixels)
            correct = probabilities.argmax(1) == images.y
            accuracies[name] = correct.float().mean().item()
        return accuracies

    def observe(self, model: Generative) -> GeneratorEvidence:
        """Draw `samples` images of every label, once to report and once to choose by."""
        referee = ["referee"] if "referee" in self.judges else []
        test = self._draw(model, "test", ["lead", *self.plain, *referee])
        val = self._draw(model, "val", ["val"])
        return GeneratorEvidence(test, val, self._bounds(model))

    @torch.no_grad()
    def _bounds(self, model: Generative) -> Tensor:
        """Mean ELBO of the first 100 test images of every class, (classes,), nats per image.

        Each image gets one sample of z, drawn from the evaluator's seed.
        """
        test = self.dataset.test
        means = []
        for label in range(self.dataset.classes):
            x = test.x[test.y == label][:ELBO_IMAGES].float() / 255
            labels = torch.full((len(x),), label, device=x.device)
            noise = stream(self.seed, "bounds", label, device=x.device)
            losses = negative_elbo(model, x, model.one_hot(labels), noise)
            means.append(-losses.mean())
        return torch.stack(means)

    @torch.no_grad()
    def _draw(self, model: Generative, purpose: str, judges: list[str]) -> JudgedSamples:
        """Draw images of every label and have the named judges read them."""
        labels = range(self.dataset.classes)
        images = draw(model, labels, self.samples, self.seed, purpose)
        flat = images.flatten(0, 1)
        probabilities, features = {}, []
        for name in judges:
            its_probabilities, its_features = read(self.judges[name], flat)
            probabilities[name] = its_probabilities.unflatten(0, images.shape[:2])
            features.append(its_features)
        return JudgedSamples(images, probabilities, features[0].unflatten(0, images.shape[:2]))


@torch.no_grad()
def draw(model: Generative, labels: Sequence[int], n: int, seed: int, purpose: str) -> Tensor:
    """Draw `n` images of each label: (labels, n, channels, height, width), pixels in [0, 1].

    The latents follow from seed, purpose and label alone, so two models are compared on the same z.
    """
    by_label = [model(*latents(model, label, n, seed, purpose)) for label in labels]
    return torch.stack(by_label)


def latents(
    model: Generative, label: int, n: int, seed: int, purpose: str
) -> tuple[Tensor, Tensor]:
    """Draw what `n` images of a label are made from: z (n, z_dim) and the one-hot class (n, k)."""
    device = next(model.parameters()).device
    z = torch.randn(n, model.z_dim, generator=stream(seed, purpose, label)).to(device)
    return z, model.one_hot(torch.full((n,), label, device=device))


def evenly_spaced(n: int, most: int) -> Tensor:
    """Return up to `most` indices into n items, evenly spaced, first and last included.

    Shape (min(n, most),), int64.
    """
    return torch.linspace(0, n - 1, min(n, most), dtype=torch.float64).round().long()


@dataclass(frozen=True)
class ClassifierEvidence:
    """What a classifier answers to unaugmented images, by (split, part).

    logits: (split, part) -> (n, classes)
    labels: (split, part) -> (n,)
    features: part -> (n, d), of up to 500 evenly spaced test images; empty where the model is not
        `Classifying`
    random: (n, classes), logits on test-forget of the same architecture at random weights; the same
        tensor for every model of one architecture
    """

    logits: dict[tuple[str, str], Tensor]
    labels: dict[tuple[str, str], Tensor]
    features: dict[str, Tensor] = field(default_factory=dict)
    random: Tensor | None = None

    def correct(self, split: str, part: str) -> Tensor:
        """Tell which answers are right, bool (n,)."""
        return self.logits[split, part].argmax(1) == self.labels[split, part]


@dataclass(frozen=True)
class ClassifierEvaluator:
    """Everything that a classifier is scored against.

    splits: real images
    forget: labels to forget
    classes: number of classes
    random_logits: cache of `ClassifierEvidence.random`, by the shapes of a model's parameters
    """

    splits: Splits
    forget: tuple[int, ...]
    classes: int
    random_logits: dict[tuple[torch.Size, ...], Tensor] = field(
        default_factory=dict, repr=False, compare=False
    )

    @property
    def kept(self) -> list[int]:
        """Labels that are not forgotten."""
        return [label for label in range(self.classes) if label not in self.forget]

    @torch.no_grad()
    def observe(self, model: nn.Module) -> ClassifierEvidence:
        """Collect logits of all val and test images and of up to 5,000 images per training part.

        The training images are evenly spaced. More of them would take longer than everything else
        together and change no score noticeably.
        """
        logits, labels, features = {}, {}, {}
        for split, part, images in self.splits.parts():
            if split == "train":
                images = images.take(evenly_spaced(len(images), MAX_TRAIN_IMAGES))
            wanted = MAX_FEATURES if split == "test" else 0
            logits[split, part], its_features = _answers(model, images, wanted)
            labels[split, part] = images.y
            if len(its_features) > 0:
                features[part] = its_features
        return ClassifierEvidence(logits, labels, features, self._random(model))

    def _random(self, model: nn.Module) -> Tensor:
        """Logits on test-forget of the model's architecture at random weights, drawn only once."""
        shapes = tuple(p.shape for p in model.parameters())
        if shapes not in self.random_logits:
            incompetent = fresh(model, stream(0, "incompetent"))
            logits, _ = _answers(incompetent, self.splits.test.forget, 0)
            self.random_logits[shapes] = logits
        return self.random_logits[shapes]


def _answers(model: Any, images: Images, max_features: int) -> tuple[Tensor, Tensor]:
    """Return logits of all images (n, classes), and features of evenly spaced ones (m, d).

    m is at most `max_features`, and 0 where the model is not `Classifying`.
    """
    wanted = torch.zeros(len(images), dtype=torch.bool, device=images.x.device)
    if isinstance(model, Classifying) and max_features > 0:
        wanted[evenly_spaced(len(images), max_features).to(wanted.device)] = True
    logits, features = [], []
    done = 0
    for piece in images.pieces():
        wanted_here = wanted[done : done + len(piece)]
        done += len(piece)
        if wanted_here.any():
            its_features = model.features(piece.pixels())
            logits.append(model.head(its_features))
            features.append(its_features[wanted_here])
        else:
            logits.append(model(piece.pixels()))
    no_features = torch.empty(0)
    return torch.cat(logits), torch.cat(features) if features else no_features


Evaluator = GeneratorEvaluator | ClassifierEvaluator
Scores = dict[str, Any]  # column -> float, or list of floats
