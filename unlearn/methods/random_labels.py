"""Random labels: teach the forgotten images any answer but their own."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from unlearn.errors import lookup, require
from unlearn.methods.base import Unlearned
from unlearn.methods.iterative import NORMS, Iterative, copy_of, steady
from unlearn.splits import Splits


@dataclass(frozen=True)
class RandomLabels(Iterative):
    """L = CE(x_f, y') + alpha CE(x_r, y_r), y' drawn fresh each step (arXiv:1911.04933; alpha as in arXiv:2310.12508).

    labels: `kept` draws y' from the classes that stay (arXiv:2310.12508 writes y' != y), `all` from all of them, as
    much public code does. alpha = 0 trains on the forgotten images alone, and norms = `batch` normalises them by
    themselves instead of by the running statistics: reference 5's baseline.
    """

    space: ClassVar[dict[str, list[Any]]] = {"alpha": [0.3, 3.0], "lr": [1e-4, 3e-3]}

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

    def __call__(
        self, model: Any, splits: Splits, generator: torch.Generator, **needs: Any
    ) -> Unlearned:
        pupil = copy_of(model)
        return self.settle(pupil, self.terms(pupil, splits, generator), generator)

    def terms(
        self, pupil: Any, splits: Splits, generator: torch.Generator
    ) -> Callable[[], dict[str, Tensor]]:
        """The two losses on fresh batches and fresh labels."""
        forget, retain = self.pair(pupil, splits, generator)
        choices = self.choices(splits)

        def terms() -> dict[str, Tensor]:
            (x_f, y_f), kept = next(forget), next(retain) if self.alpha > 0 else None
            drawn = torch.randint(
                len(choices), y_f.shape, generator=generator, device=generator.device
            )
            wrong = choices.to(y_f.device)[drawn.to(y_f.device)]
            answers = steady(pupil, x_f) if self.norms == "running" else pupil(x_f)
            losses = {"forget": F.cross_entropy(answers, wrong)}
            if kept is not None:
                losses["retain"] = self.alpha * F.cross_entropy(pupil(kept[0]), kept[1])
            return losses

        return terms

    def choices(self, splits: Splits) -> Tensor:
        """The labels that y' is drawn from."""
        kept = splits.train.retain.y.unique()
        return (
            kept
            if self.labels == "kept"
            else torch.cat([kept, splits.train.forget.y.unique()]).sort().values
        )
