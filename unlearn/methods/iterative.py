"""What the methods share that move a copy of a classifier by gradient descent."""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.func import functional_call

from unlearn.augment import AUGMENTS
from unlearn.data import Images, Splits
from unlearn.methods.base import Method, Unlearned
from unlearn.streams import layer_noise
from unlearn.train import Training, descend, snapshot

Batches = Iterator[tuple[Tensor, Tensor]]
NORMS = {
    "running": "the running statistics",
    "batch": "those of the batch of forgotten images, which then count too",
}


@dataclass(frozen=True)
class Iterative(Method):
    """`steps` steps of `batch` images (of each part that the method reads) at peak rate `lr`: the knobs of
    `unlearn.train.Schedule`; and `augment`, as an original is best trained with: bare images are learnt by heart."""

    tasks: ClassVar[tuple[str, ...]] = ("classifier",)

    steps: int = 200
    batch: int = 64
    lr: float = 1e-3
    schedule: str = "one-cycle"
    optimizer: str = "adamw"
    augment: str = "none"

    def __post_init__(self) -> None:
        self.plan()

    def plan(self) -> Training:
        """The knobs, checked."""
        return Training(
            self.steps,
            self.batch,
            self.lr,
            self.schedule,
            optimizer=self.optimizer,
            augment=self.augment,
        )

    def batches(self, model: nn.Module, images: Images, generator: torch.Generator) -> Batches:
        """Endless shuffled batches of `images`, augmented, on the model's device."""
        drawn = images.to(next(model.parameters()).device).batches(self.batch, generator)

        def augmented(batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
            return AUGMENTS[self.augment](batch[0], generator), batch[1]

        return map(augmented, drawn)  # a map outlives an error in a step, a generator does not

    def pair(
        self, model: nn.Module, splits: Splits, generator: torch.Generator
    ) -> tuple[Batches, Batches]:
        """Batches of the forgotten and of the kept training images."""
        forget, retain = splits.train.forget, splits.train.retain
        return self.batches(model, forget, generator), self.batches(model, retain, generator)

    def settle(
        self,
        pupil: nn.Module,
        terms: Callable[[], dict[str, Tensor]],
        generator: torch.Generator,
        add_gradients: Callable[[], dict[str, Tensor]] | None = None,
    ) -> Unlearned:
        """Descend `terms` from where `pupil` is; its weights and the curve."""
        with layer_noise(pupil, generator):
            curve = descend(pupil, terms, self.plan(), add_gradients)
        return Unlearned(snapshot(pupil), curve)


def copy_of(model: Any) -> Any:
    """A copy in training mode; the original stays as it is."""
    return copy.deepcopy(model).train()


def steady(model: nn.Module, x: Tensor) -> Tensor:
    """Logits of a training model with its norm layers' running statistics: forgotten images never enter them, and a
    batch of one class cannot normalise itself. Leaves the model in training mode.

    Of copies of the statistics: batch norm's backward pass reads them again, and torch does not notice when a pass in
    training mode has moved them in between. (With tied weights a layer of two names would keep the copies.)
    """
    statistics = {name: buffer.clone() for name, buffer in model.named_buffers()}
    model.eval()
    logits: Tensor = functional_call(model, statistics, (x,), tie_weights=False)
    model.train()
    return logits
