"""Random labels (arXiv:1911.04933): train the forgotten images on labels drawn at random."""

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from unlearn.errors import lookup, require
from unlearn.methods.base import Losses, SearchSpace, StepFunction, Unlearned
from unlearn.methods.iterative import NORMS, Iterative, forgotten_logits, training_copy
from unlearn.splits import Splits


@dataclass(frozen=True)
class RandomLabels(Iterative):
    """Minimise CE(x_f, y') + alpha CE(x_r, y_r), with labels y' drawn anew in every step.

    Reference 5's baseline is alpha = 0 with norms = `batch`.

    alpha: weight of the retained images (arXiv:2310.12508), at least 0; at 0 they are not read.
    labels: classes that y' is drawn from, uniformly. `kept` takes the retained classes
        (arXiv:2310.12508 writes y' != y), `all` takes every class, as much public code does.
    steps: number of optimiser steps, at least 1.
    lr: peak learning rate, above 0.
    norms: statistics that normalise the forgotten images. `running` takes the running ones and
        leaves them as they are, `batch` those of the batch itself, which then count too.
    """

    reads: ClassVar[str] = "forget"
    space: ClassVar[SearchSpace] = {"alpha": [0.3, 3.0], "lr": [1e-4, 3e-3]}
    epoch_space: ClassVar[SearchSpace] = {**space, "epochs": [8.0, 32.0]}

    alpha: float = 1.0
    labels: str = "kept"
    steps: int = 100
    lr: float = 1e-3
    norms: str = "running"

    def __post_init__(self) -> None:
        super().__post_init__()
        lookup("norms", self.norms, NORMS)
        require(self.alpha >= 0, f"alpha must be at least 0, not {self.alpha}")
        require(self.labels in ("kept", "all"), f"labels must be kept or all, not {self.labels!r}")

    def unlearn(
        self, model: Any, splits: Splits, generator: torch.Generator, **needs: Any
    ) -> Unlearned:
        student = training_copy(model)
        losses = self.loss_terms(student, splits, generator)
        return self.minimise(student, losses, generator)

    def loss_terms(self, student: Any, splits: Splits, generator: torch.Generator) -> StepFunction:
        """Return the function that computes `forget` and, unless alpha is 0, `retain`."""
        forget, retain = self.forget_retain_batches(student, splits, generator)
        choices = self.replacement_labels(splits)
        device = generator.device
        answer = partial(forgotten_logits, student, norms=self.norms)

        def losses() -> Losses:
            x_f, y_f = next(forget)
            kept = next(retain) if self.alpha > 0 else None
            drawn = torch.randint(len(choices), y_f.shape, generator=generator, device=device)
            labels = choices.to(y_f.device)[drawn.to(y_f.device)]
            logits = self.logits(answer, x_f)
            found = {"forget": F.cross_entropy(logits, labels)}
            if kept is not None:
                x_r, y_r = kept
                found["retain"] = self.alpha * F.cross_entropy(self.logits(student, x_r), y_r)
            return found

        return losses

    def replacement_labels(self, splits: Splits) -> Tensor:
        """Return the labels that y' is drawn from, in ascending order."""
        kept = splits.train.retain.y.unique()
        if self.labels == "kept":
            output: Tensor = kept
            return output
        forgotten = splits.train.forget.y.unique()
        every: Tensor = torch.cat([kept, forgotten]).unique()
        return every
