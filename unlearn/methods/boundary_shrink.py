"""Boundary shrink (CVPR 2023, Chen et al., "Boundary Unlearning"): give forgotten images the label
of the nearest other class."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from unlearn.errors import require
from unlearn.methods.base import Losses, Unlearned
from unlearn.methods.boundary import Boundary
from unlearn.methods.iterative import training_copy
from unlearn.splits import Splits


@dataclass(frozen=True)
class BoundaryShrink(Boundary):
    """Minimise CE(x_f, y') + alpha CE(x_r, y_r), with y' the class behind the nearest boundary.

    y' is what the original answers to x_f + epsilon * sign(gradient of CE(x_f, y_f)), clipped to
    [0, 1] and rounded to bytes (one step of FGSM, as the authors' code takes it; the paper speaks
    of several). The paper reads no retained image: alpha = 0.

    Deviation: y' is the likeliest class that is kept, and never the image's own. The authors' code
    takes whatever the original answers, the own class included where the step was too short, and
    swaps the labels of two forgotten classes. Where a network's answers have no gradient by its
    pixels, y' is its second-best answer to the image itself.

    epsilon: length of the step per pixel, above 0; pixels lie in [0, 1].
    lr: peak learning rate, above 0.
    """

    epsilon: float = 0.1
    lr: float = 3e-4

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.epsilon > 0, f"epsilon must be above 0, not {self.epsilon}")

    def unlearn(
        self, model: Any, splits: Splits, generator: torch.Generator, **needs: Any
    ) -> Unlearned:
        student = training_copy(model)
        forget, retain = self.forget_retain_batches(model, splits, generator)
        answer = partial(self.logits, self.teacher(model))
        kept = splits.train.retain.y.unique().to(next(model.parameters()).device)

        def losses() -> Losses:
            x_f, y_f = next(forget)
            labels = nearest_class(answer, x_f, y_f, kept, self.epsilon)
            return self.losses_of(student, x_f, labels, retain)

        return self.minimise(student, losses, generator)


def nearest_class(model: Any, x: Tensor, y: Tensor, kept: Tensor, epsilon: float) -> Tensor:
    """Return the likeliest class out of `kept`, but not y, after one step of FGSM, (n,).

    x: pixels in [0, 1]; y: their labels (n,); kept: classes (k,)
    """
    pixels = x.detach().clone().requires_grad_(True)
    with torch.enable_grad():
        loss = F.cross_entropy(model(pixels), y)
    (gradient,) = torch.autograd.grad(loss, pixels, allow_unused=True, materialize_grads=True)
    moved = (x + epsilon * gradient.sign()).clamp(0, 1)
    moved = (moved * 255).round() / 255
    with torch.no_grad():
        logits = model(moved).float()
    barred = torch.ones_like(logits, dtype=torch.bool)
    barred[:, kept] = False
    barred.scatter_(1, y[:, None], True)
    nearest: Tensor = logits.masked_fill(barred, -torch.inf).argmax(1)
    return nearest
