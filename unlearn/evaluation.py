"""What a model shows when it is asked: drawn once as evidence, then read by every metric of its task."""

from collections.abc import Mapping
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


@dataclass(frozen=True)
class Drawn:
    """A generator's images of every label, and what each judge reads in them.

    images (classes, n, channels, height, width) in [0, 1]; probabilities: judge -> (classes, n, outputs);
    features (classes, n, d) of the judge `lead`.
    """

    images: Tensor
    probabilities: dict[str, Tensor]
    features: Tensor


@dataclass(frozen=True)
class GeneratorEvidence:
    """`test` is reported, `val` chooses: other latents, other judge. `bounds` (classes,): mean ELBO of real test images
    of each class under their own label, nats an image."""

    test: Drawn
    val: Drawn
    bounds: Tensor


@dataclass(frozen=True)
class GeneratorEvaluator:
    """Everything a generator is scored against. `judges` holds `lead`, `val` and the plain ones, in eval mode."""

    dataset: Dataset
    forget: tuple[int, ...]
    judges: Mapping[str, Classifying]
    samples: int
    seed: int

    @property
    def plain(self) -> list[str]:
        """The names of the plain judges."""
        return [name for name in self.judges if name not in ("lead", "val")]

    @property
    def kept(self) -> list[int]:
        return [label for label in range(self.dataset.classes) if label not in self.forget]

    @cached_property
    def real_features(self) -> list[Tensor]:
        """Per class, the lead judge's features of real test images, each (n, d)."""
        features = read(self.judges["lead"], self.dataset.test.pixels())[1]
        return [features[self.dataset.test.y == label] for label in range(self.dataset.classes)]

    @cached_property
    def judge_accuracy(self) -> dict[str, float]:
        """Each judge's accuracy on real test images; a reject counts as wrong."""
        test = self.dataset.test
        return {
            name: (read(judge, test.pixels())[0].argmax(1) == test.y).float().mean().item()
            for name, judge in self.judges.items()
        }

    def observe(self, model: Generative) -> GeneratorEvidence:
        """Draw `samples` images of every label, twice: once to choose by and once to report."""
        test, val = (
            self._draw(model, "test", ["lead", *self.plain]),
            self._draw(model, "val", ["val"]),
        )
        return GeneratorEvidence(test, val, self._bounds(model))

    @torch.no_grad()
    def _bounds(self, model: Generative, most: int = 100) -> Tensor:
        """Mean ELBO of the first `most` test images of every class, one sample of z each from the setting's seed."""
        test, means = self.dataset.test, []
        for label in range(self.dataset.classes):
            x = test.x[test.y == label][:most].float() / 255
            c = model.one_hot(torch.full((len(x),), label, device=x.device))
            noise = stream(self.seed, "bounds", label, device=x.device)
            means.append(-negative_elbo(model, x, c, noise).mean())
        return torch.stack(means)

    @torch.no_grad()
    def _draw(self, model: Generative, purpose: str, names: list[str]) -> Drawn:
        images = draw(model, range(self.dataset.classes), self.samples, self.seed, purpose)
        flat = images.flatten(0, 1)
        readings = {name: read(self.judges[name], flat) for name in names}
        shaped = {
            name: probabilities.unflatten(0, images.shape[:2])
            for name, (probabilities, _) in readings.items()
        }
        return Drawn(images, shaped, readings[names[0]][1].unflatten(0, images.shape[:2]))


@torch.no_grad()
def draw(model: Generative, labels: range | list[int], n: int, seed: int, purpose: str) -> Tensor:
    """`n` images of each label (labels, n, channels, height, width) in [0, 1]; the latents follow from seed,
    purpose and label alone, so two models asked the same are compared on the same z."""
    device = next(model.parameters()).device
    sheets = []
    for label in labels:
        z = torch.randn(n, model.z_dim, generator=stream(seed, purpose, label)).to(device)
        sheets.append(model(z, model.one_hot(torch.full((n,), label, device=device))))
    return torch.stack(sheets)


FEATURES = 500  # images a part whose features are kept
TRAINED = 5000  # images of each training part that are read


def evenly(n: int, most: int) -> Tensor:
    """Up to `most` places out of n, evenly spaced, (min(n, most),)."""
    return torch.linspace(0, n - 1, min(n, most), dtype=torch.float64).round().long()


@dataclass(frozen=True)
class ClassifierEvidence:
    """Logits (n, classes) and labels (n,) of every (split, part), on unaugmented images.

    features: of up to 500 test images of each part, evenly spaced, (n, d), by part; none where the model is no
    `Classifying`. random: logits on test-forget of the same architecture at random weights, drawn once a setting.
    """

    logits: dict[tuple[str, str], Tensor]
    labels: dict[tuple[str, str], Tensor]
    features: dict[str, Tensor] = field(default_factory=dict)
    random: Tensor | None = None

    def correct(self, split: str, part: str) -> Tensor:
        """Which answers are right, bool (n,)."""
        return self.logits[split, part].argmax(1) == self.labels[split, part]


@dataclass(frozen=True)
class ClassifierEvaluator:
    """Everything a classifier is scored against."""

    splits: Splits
    forget: tuple[int, ...]
    classes: int
    fools: dict[tuple[torch.Size, ...], Tensor] = field(
        default_factory=dict, repr=False, compare=False
    )

    @property
    def kept(self) -> list[int]:
        return [label for label in range(self.classes) if label not in self.forget]

    @torch.no_grad()
    def observe(self, model: nn.Module) -> ClassifierEvidence:
        """Ask for logits of every image of val and test, and of up to 5,000 evenly spaced ones of each training part:
        more would cost more than all the rest and say no more."""
        logits, labels, features = {}, {}, {}
        for split, part, whole in self.splits.parts():
            images = whole.take(evenly(len(whole), TRAINED)) if split == "train" else whole
            logits[split, part], seen = _answers(model, images, FEATURES if split == "test" else 0)
            labels[split, part] = images.y
            if len(seen) > 0:
                features[part] = seen
        return ClassifierEvidence(logits, labels, features, self._fool(model))

    def _fool(self, model: nn.Module) -> Tensor:
        """What random weights answer on test-forget: the same for every model of one architecture."""
        shapes = tuple(p.shape for p in model.parameters())
        if shapes not in self.fools:
            images = self.splits.test.forget
            self.fools[shapes] = _answers(fresh(model, stream(0, "incompetent")), images, 0)[0]
        return self.fools[shapes]


def _answers(model: Any, images: Images, keep: int) -> tuple[Tensor, Tensor]:
    """Logits of all images, and the features of `keep` of them, evenly spaced, where the model tells them."""
    kept = torch.zeros(len(images), dtype=torch.bool, device=images.x.device)
    if isinstance(model, Classifying) and keep > 0:
        kept[evenly(len(images), keep).to(kept.device)] = True
    logits, features, read = [], [], 0
    for piece in images.pieces():
        wanted = kept[read : read + len(piece)]
        read += len(piece)
        if wanted.any():
            seen = model.features(piece.pixels())
            logits.append(model.head(seen))
            features.append(seen[wanted])
        else:
            logits.append(model(piece.pixels()))
    return torch.cat(logits), torch.cat(features) if features else torch.empty(0)


Evaluator = GeneratorEvaluator | ClassifierEvaluator
Scores = dict[str, Any]  # column -> float, or list of floats
