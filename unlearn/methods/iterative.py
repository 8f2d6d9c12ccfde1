"""Base class of the methods that train a copy of the model by gradient descent."""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from math import ceil
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn
from torch.func import functional_call

from unlearn.augment import AUGMENTS
from unlearn.errors import require
from unlearn.knobs import later
from unlearn.methods.base import Method, StepFunction, Unlearned
from unlearn.objectives import float32_of_bf16
from unlearn.splits import Images, Split, Splits
from unlearn.streams import layer_noise
from unlearn.train import Training, autocast, descend, layout_of, snapshot

Batches = Iterator[tuple[Tensor, Tensor]]  # images (n, *shape) in [0, 1] and labels (n,)
NORMS = {
    "running": "normalise forgotten images by the running statistics, which they do not change",
    "batch": "normalise each batch of forgotten images by its own statistics, which then count",
}


@dataclass(frozen=True)
class Iterative(Method):
    """A method that trains a copy of the model; a subclass defines `unlearn`.

    Class attribute:

    reads: the part of the training images whose passes `epochs` counts: `forget`, `retain` or
        `all`.

    steps: number of optimiser steps, at least 1.
    batch: images per step and part (forget, retain) that the method reads, at least 1; a part with
        fewer images gives all of them.
    lr: peak learning rate, above 0.
    schedule: course of the learning rate, `one-cycle` (arXiv:1708.07120), `cosine`
        (arXiv:1608.03983) or `constant`.
    optimizer: `adamw` (arXiv:1711.05101), or `sgd` with momentum 0.9.
    augment: augmentation of every batch, a name out of `unlearn.augment.AUGMENTS`. Use that of the
        original's training: without one, a network memorises the images.
    weight_decay: of the optimiser, at least 0; with `adamw` it is decoupled from the gradient.
    epochs: budget as passes over the images that the method must read (`reads`), in the place of
        `steps`: epochs * ceil(images / batch) of them, rounded. At least 0; 0 for `steps`.
    precision: `fp32`, or `bf16` autocast of every network in a step, teachers too, with float32
        weights and losses. What a method measures once before its steps stays float32.
    channels_last: whether the tensors of a step have that memory format, for networks of
        convolutions.
    """

    tasks: ClassVar[tuple[str, ...]] = ("classifier",)
    reads: ClassVar[str] = "retain"

    steps: int = 200
    batch: int = 64
    lr: float = 1e-3
    schedule: str = "one-cycle"
    optimizer: str = "adamw"
    augment: str = "none"
    weight_decay: float = later(0.0)
    epochs: float = later(0.0)
    precision: str = later("fp32")
    channels_last: bool = later(False)

    def __post_init__(self) -> None:
        require(self.epochs >= 0, f"epochs must be at least 0, not {self.epochs}")
        self.training()

    def __call__(
        self, model: Any, splits: Splits, generator: torch.Generator, **needs: Any
    ) -> Unlearned:
        sized = self.sized(splits.train) if self.epochs else self
        return sized.unlearn(model, splits, generator, **needs)

    def unlearn(
        self, model: Any, splits: Splits, generator: torch.Generator, **needs: Any
    ) -> Unlearned:
        """Unlearn as `Method.__call__` says; the budget stands in `steps`."""
        raise TypeError(f"{type(self).__name__} must define unlearn")

    def sized(self, train: Split) -> Self:
        """Return the method with the budget that `epochs` means for these images as `steps`."""
        steps = self.steps_for(len(train.forget), len(train.retain))
        return replace(self, steps=steps, epochs=0.0)

    def steps_for(self, forget: int, retain: int) -> int:
        """Return the number of steps where so many training images are forgotten and retained."""
        if not self.epochs:
            return self.steps
        images = {"forget": forget, "retain": retain, "all": forget + retain}[self.reads]
        return self.steps_of(self.epochs, images)

    def steps_of(self, epochs: float, images: int) -> int:
        """Return the number of steps of so many passes over so many images, at least 1."""
        return max(1, round(epochs * ceil(images / self.batch)))

    def training(self) -> Training:
        """Return the knobs as a `Training`, which checks their ranges."""
        return Training(
            self.steps,
            self.batch,
            self.lr,
            self.schedule,
            self.weight_decay,
            optimizer=self.optimizer,
            augment=self.augment,
            precision=self.precision,
            channels_last=self.channels_last,
        )

    @property
    def layout(self) -> torch.memory_format:
        """The memory format of networks and images in the steps."""
        return layout_of(self.channels_last)

    def logits(self, network: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        """Return the logits (n, classes) of images `x`, computed in `precision`, for a loss.

        A loss of bf16 logits would be rounded, so these are float32. Others stay as they are.
        """
        with autocast(x.device, self.precision):
            logits = network(x)
        return float32_of_bf16(logits)

    def steady_logits(self, student: nn.Module, x: Tensor) -> Tensor:
        """Return `logits` under the running statistics: see `logits_with_running_stats`."""
        return self.logits(partial(logits_with_running_stats, student), x)

    def teacher(self, model: Any) -> Any:
        """Return `model`, which stays as it is, as a network whose answers the steps read."""
        return copy.deepcopy(model).to(memory_format=self.layout) if self.channels_last else model

    def batches(self, model: nn.Module, images: Images, generator: torch.Generator) -> Batches:
        """Return shuffled, augmented batches of `images` without end, on the model's device."""
        device = next(model.parameters()).device
        augment = AUGMENTS[self.augment]

        def augmented(batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
            x, y = batch
            return augment(x, generator).to(memory_format=self.layout), y

        # A map goes on after an error, such as one in a step that cannot be captured.
        return map(augmented, images.to(device).batches(self.batch, generator))

    def forget_retain_batches(
        self, model: nn.Module, splits: Splits, generator: torch.Generator
    ) -> tuple[Batches, Batches]:
        """Return batches of the forgotten and batches of the retained training images."""
        forget = self.batches(model, splits.train.forget, generator)
        retain = self.batches(model, splits.train.retain, generator)
        return forget, retain

    def minimise(
        self,
        student: Any,
        losses: StepFunction,
        generator: torch.Generator,
        add_gradients: StepFunction | None = None,
    ) -> Unlearned:
        """Train `student` in place on the sum of `losses()`; see `unlearn.train.descend`.

        `losses` takes what networks answer from `logits`, which heeds `precision`.
        """
        student.to(memory_format=self.layout)
        with layer_noise(student, generator):
            curve = descend(student, losses, self.training(), add_gradients)
        return Unlearned(snapshot(student), curve)


def training_copy(model: Any) -> Any:
    """Return a copy of `model` in training mode."""
    return copy.deepcopy(model).train()


def logits_with_running_stats(model: nn.Module, x: Tensor) -> Tensor:
    """Return the logits (n, classes) of `x` in eval mode; leave `model` in training mode.

    Norm layers use their running statistics and do not update them: forgotten images never enter
    the statistics, and a batch of one class is not normalised by itself.
    """
    # Work on copies of the buffers: the backward pass of batch norm reads them again, and torch
    # does not notice when a pass in training mode has changed them in between.
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    model.eval()
    # With tie_weights=True a layer that has two names would keep the copies.
    logits: Tensor = functional_call(model, buffers, (x,), tie_weights=False)
    model.train()
    return logits


def forgotten_logits(model: nn.Module, x: Tensor, norms: str) -> Tensor:
    """Return the logits (n, classes) of forgotten images, normalised as `norms` of `NORMS` says."""
    if norms == "running":
        return logits_with_running_stats(model, x)
    logits: Tensor = model(x)
    return logits
