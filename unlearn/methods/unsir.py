"""UNSIR (arXiv:2111.08947): impair the network with noise that maximises the forgotten classes'
loss, then repair it."""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from unlearn.errors import require
from unlearn.knobs import later
from unlearn.methods.base import Losses, SearchSpace, Unlearned, join_curves
from unlearn.methods.iterative import Iterative, training_copy
from unlearn.optimizers import Adam
from unlearn.splits import Split, Splits


@dataclass(frozen=True)
class Unsir(Iterative):
    """Learn noise N, train on it as the forgotten classes, then repair on retained images.

    1. Noise: maximise CE(original(N), y_f) - penalty * mean over images of |N|^2, by Adam at 0.1.
    2. Impair: minimise CE over one batch of N with labels y_f and retained images with their own.
    3. Repair: minimise CE(x_r, y_r).

    No forgotten image is read: only their classes are. So it forgets whole classes; where the same
    classes are retained (a random share) it impairs them as well. In the curve `impair` is 0 while
    repairing, and `retain` while impairing.

    Deviations: the authors mix 20 copies of a noise batch with 1,000 images per retained class and
    pass over them once; here every step of step 2 reads a batch of each. Their rates (Adam at 0.02,
    then 0.01) are those of a small network. Their noise is normal and unbounded; ours starts
    uniform and is kept in [0, 1], where a network may expect its pixels.

    noise_steps: steps of Adam on the noise, at least 1; 40 in the authors' code.
    penalty: weight of the noise's squared norm, at least 0; 0.1 in the authors' code.
    impair_steps: steps of step 2, at least 1.
    steps: steps of step 3, at least 1.
    lr: peak learning rate of steps 2 and 3, each with a schedule of its own; above 0.
    impair_epochs: with `epochs`, the length of step 2 in passes over the retained images, at least
        0; 0 for `impair_steps`.
    """

    space: ClassVar[SearchSpace] = {"impair_steps": [5, 100], "lr": [1e-4, 1e-2]}
    epoch_space: ClassVar[SearchSpace] = {
        "impair_epochs": [0.1, 2.0],
        "epochs": [1.0, 4.0],
        "lr": [1e-4, 1e-2],
    }

    noise_steps: int = 40
    penalty: float = 0.1
    impair_steps: int = 30
    steps: int = 100
    lr: float = 3e-3
    impair_epochs: float = later(0.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.noise_steps >= 1, f"noise_steps must be at least 1, not {self.noise_steps}")
        require(self.impair_steps >= 1, f"impair_steps must be at least 1, not {self.impair_steps}")
        require(self.penalty >= 0, f"penalty must be at least 0, not {self.penalty}")
        require(
            self.impair_epochs >= 0, f"impair_epochs must be at least 0, not {self.impair_epochs}"
        )

    def sized(self, train: Split) -> Self:
        steps = self.steps_for(len(train.forget), len(train.retain))
        impair = self.impair_steps
        if self.impair_epochs:
            impair = self.steps_of(self.impair_epochs, len(train.retain))
        return replace(self, steps=steps, impair_steps=impair, epochs=0.0)

    def unlearn(
        self, model: Any, splits: Splits, generator: torch.Generator, **needs: Any
    ) -> Unlearned:
        device = next(model.parameters()).device
        student = training_copy(model)
        retain = self.batches(model, splits.train.retain, generator)
        classes = splits.train.forget.y.unique().to(device)
        labels = classes[torch.arange(self.batch, device=device) % len(classes)]
        shape = (self.batch, *splits.train.forget.x.shape[1:])
        start = torch.rand(shape, generator=generator, device=device)
        start = start.to(memory_format=self.layout)
        answer = partial(self.logits, self.teacher(model))
        noise = maximise_loss(answer, start, labels, self.noise_steps, self.penalty)

        def impair() -> Losses:
            x_r, y_r = next(retain)
            logits = self.logits(student, torch.cat([noise, x_r]))
            loss = F.cross_entropy(logits, torch.cat([labels, y_r]))
            return {"impair": loss, "retain": torch.zeros_like(loss)}

        def repair() -> Losses:
            x_r, y_r = next(retain)
            loss = F.cross_entropy(self.logits(student, x_r), y_r)
            return {"impair": torch.zeros_like(loss), "retain": loss}

        first = replace(self, steps=self.impair_steps)
        one = first.minimise(student, impair, generator)
        two = self.minimise(student, repair, generator)
        return Unlearned(two.weights, join_curves([one.curve, two.curve]))


def maximise_loss(model: Any, noise: Tensor, labels: Tensor, steps: int, penalty: float) -> Tensor:
    """Return noise (n, *shape) after `steps` of Adam at 0.1 on penalty |N|^2 - CE(N, labels).

    Every step ends in [0, 1].

    The model is in eval mode and stays as it is; `noise` too.
    """
    moved = noise.clone().requires_grad_(True)
    optimizer = Adam([moved], lr=0.1)
    for _ in range(steps):
        norm = moved.square().flatten(1).sum(1).mean()
        loss = penalty * norm - F.cross_entropy(model(moved), labels)
        (moved.grad,) = torch.autograd.grad(loss, moved, allow_unused=True, materialize_grads=True)
        optimizer.step()
        with torch.no_grad():
            moved.clamp_(0, 1)
    return moved.detach()
