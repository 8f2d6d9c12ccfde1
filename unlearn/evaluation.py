"""What a model shows when it is asked: drawn once as evidence, then read by every metric of its task."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from unlearn.data import Dataset, Splits
from unlearn.judges import read
from unlearn.models.base import Classifying, Generative
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
    """`test` is reported, `val` chooses: other latents, other judge."""

    test: Drawn
    val: Drawn


@dataclass(frozen=True)
class GeneratorSetting:
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
        return GeneratorEvidence(self._draw(model, "test", ["lead", *self.plain]), self._draw(model, "val", ["val"]))

    @torch.no_grad()
    def _draw(self, model: Generative, purpose: str, names: list[str]) -> Drawn:
        images = draw(model, range(self.dataset.classes), self.samples, self.seed, purpose)
        flat = images.flatten(0, 1)
        readings = {name: read(self.judges[name], flat) for name in names}
        shaped = {name: probabilities.unflatten(0, images.shape[:2]) for name, (probabilities, _) in readings.items()}
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


@dataclass(frozen=True)
class ClassifierEvidence:
    """Logits (n, classes) and labels (n,) of every (split, part), on unaugmented images."""

    logits: dict[tuple[str, str], Tensor]
    labels: dict[tuple[str, str], Tensor]

    def correct(self, split: str, part: str) -> Tensor:
        """Which answers are right, bool (n,)."""
        return self.logits[split, part].argmax(1) == self.labels[split, part]


@dataclass(frozen=True)
class ClassifierSetting:
    """Everything a classifier is scored against."""

    splits: Splits
    forget: tuple[int, ...]
    classes: int

    @torch.no_grad()
    def observe(self, model: nn.Module, batch: int = 1000) -> ClassifierEvidence:
        """Ask for logits of every image of every split."""
        logits, labels = {}, {}
        for split, part, images in self.splits.parts():
            logits[split, part] = torch.cat([model(x.float() / 255) for x in images.x.split(batch)])
            labels[split, part] = images.y
        return ClassifierEvidence(logits, labels)


Setting = GeneratorSetting | ClassifierSetting
Scores = dict[str, Any]  # column -> float, or list of floats
