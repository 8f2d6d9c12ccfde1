"""Masked small gradients (second of the NeurIPS 2023 unlearning challenge): draw anew the kernels'
entries of which forgotten and retained images agree, then fine-tune."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unlearn.errors import require
from unlearn.methods.base import Losses, SearchSpace, StepFunction, Unlearned
from unlearn.methods.convolution_transpose import kernels
from unlearn.methods.influence import mean_gradient, split_by_parameter
from unlearn.methods.iterative import Iterative, training_copy
from unlearn.splits import Images, Splits

Masks = dict[str, Tensor]  # bool by kernel: True where the entry was drawn anew


@dataclass(frozen=True)
class MaskedSmallGradients(Iterative):
    """Draw anew the entries with the smallest |g_r - g_f|, then minimise CE(x_r, y_r).

    One of the two best in the comparison of arXiv:2410.01276 (`MSG`). g_f and g_r are the
    gradients of CE on the forgotten images and on as many retained ones, at the original's weights.
    In every convolution kernel the share `rate` of the entries where they differ least is drawn
    from N(0, 2 / fan-out); while fine-tuning, the gradients of the other entries are multiplied by
    `damping`. Norms, linear layers and what is frozen are not drawn anew.

    Deviations: gradients are those of eval mode, means over images (the authors sum batches in
    whatever mode the network comes in, which changes no order where the two sets are equally
    large). Their learning rate rises linearly over the first half of the epochs and falls over the
    second; ours is `schedule`.

    rate: share of each kernel's entries that is drawn anew, in [0, 1]; 0.3 in the authors' code.
    damping: factor on the gradients of the other entries, in [0, 1]; 0.1 in the authors' code.
    steps: number of optimiser steps, at least 1; used where `epochs` is 0.
    lr: peak learning rate, above 0. This, `optimizer`, `weight_decay` and `epochs` are those of
        the authors.
    optimizer: `adamw`, or `sgd` with momentum 0.9. `adamw` rescales gradients, and with them
        `damping`.
    weight_decay: of the optimiser, at least 0.
    epochs: passes over the retained images, at least 0; 0 for `steps`.
    """

    space: ClassVar[SearchSpace] = {
        "rate": [0.1, 0.9],
        "epochs": [2.5, 10.0],
        "lr": [1e-4, 1e-2],
    }

    rate: float = 0.3
    damping: float = 0.1
    lr: float = 1e-3
    optimizer: str = "sgd"
    weight_decay: float = 5e-4
    epochs: float = 5.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 <= self.rate <= 1, f"rate must lie in [0, 1], not {self.rate}")
        require(0 <= self.damping <= 1, f"damping must lie in [0, 1], not {self.damping}")

    def unlearn(
        self, model: Any, splits: Splits, generator: torch.Generator, **needs: Any
    ) -> Unlearned:
        student = training_copy(model)
        masks = agreeing(model, splits, self.rate, generator)
        redraw(student, masks, generator)
        retain = self.batches(model, splits.train.retain, generator)

        def losses() -> Losses:
            x, y = next(retain)
            return {"retain": F.cross_entropy(self.logits(student, x), y)}

        return self.minimise(student, losses, generator, damp(student, masks, self.damping))


def agreeing(model: nn.Module, splits: Splits, rate: float, generator: torch.Generator) -> Masks:
    """Mark in every kernel the share `rate` of its entries where |g_r - g_f| is smallest."""
    device = next(model.parameters()).device
    forget, retain = splits.train.forget, splits.train.retain
    if len(retain) > len(forget):
        retain = some_of(retain, len(forget), generator)
    found = [mean_gradient(model, images.to(device)) for images in (retain, forget)]
    differences = dict(split_by_parameter(model, (found[0] - found[1]).abs()))
    return {name: smallest(differences[name], rate) for name in kernels(model)}


def some_of(images: Images, count: int, generator: torch.Generator) -> Images:
    """Return `count` of the images, drawn without replacement."""
    drawn = torch.randperm(len(images), generator=generator, device=generator.device)
    return images.take(drawn[:count].to(images.y.device))


def smallest(values: Tensor, rate: float) -> Tensor:
    """Mark the round(rate * n) smallest of the n values, as a mask of their shape."""
    count = round(rate * values.numel())
    mask = torch.zeros(values.numel(), dtype=torch.bool, device=values.device)
    mask[values.flatten().argsort(stable=True)[:count]] = True
    return mask.view(values.shape)


@torch.no_grad()
def redraw(model: nn.Module, masks: Masks, generator: torch.Generator) -> None:
    """Draw the marked entries of every kernel from N(0, 2 / fan-out), in place (He et al. 2015)."""
    for name, p in kernels(model).items():
        fan_out = p.shape[0] * p.shape[2] * p.shape[3]
        noise = torch.randn(p.shape, generator=generator, device=generator.device).to(p)
        p.copy_(torch.where(masks[name], noise * (2 / fan_out) ** 0.5, p))


def damp(model: nn.Module, masks: Masks, factor: float) -> StepFunction:
    """Return the `add_gradients` of `descend` that multiplies unmarked entries' gradients."""
    factors = {name: torch.where(mask, 1.0, factor) for name, mask in masks.items()}
    parameters = kernels(model)

    @torch.no_grad()
    def add_gradients() -> Losses:
        for name, p in parameters.items():
            if p.grad is not None:
                p.grad *= factors[name]
        return {}

    return add_gradients
