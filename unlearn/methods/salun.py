"""SalUn (arXiv:2310.12508): random labels, but only the weights that the forgotten images pull on may move."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unlearn.errors import require
from unlearn.methods.base import Unlearned
from unlearn.methods.iterative import copy_of
from unlearn.methods.random_labels import RandomLabels
from unlearn.splits import Images, Splits


@dataclass(frozen=True)
class SalUn(RandomLabels):
    """theta moves only where |grad of CE(forget) at theta_o| is in the top `1 - sparsity` share of all weights.

    The mask is one threshold over the whole network, from the exact gradient over all forgotten training images (the
    authors' code takes a step between batches while it gathers them); a weight that these do not pull on at all stays
    where it is. Then as `random-labels`, equation 6's L = CE(x_f, y') + alpha CE(x_r, y_r). `norms` as there.
    """

    space: ClassVar[dict[str, list[Any]]] = {
        "sparsity": [0.1, 0.9],
        "alpha": [0.3, 3.0],
        "lr": [1e-4, 3e-3],
    }

    sparsity: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 <= self.sparsity < 1, f"sparsity must lie in [0, 1), not {self.sparsity}")

    def __call__(
        self, model: Any, splits: Splits, generator: torch.Generator, **needs: Any
    ) -> Unlearned:
        pupil = copy_of(model)
        masks = saliency(model, splits.train.forget, self.sparsity)
        return self.settle(
            pupil, self.terms(pupil, splits, generator), generator, only(pupil, masks)
        )


def saliency(
    model: nn.Module, images: Images, sparsity: float, batch: int = 500
) -> dict[str, Tensor]:
    """Which weights are salient, bool by parameter name: |mean gradient of the cross-entropy on `images`| at or above
    the `sparsity` quantile over all weights together, and not 0. The model is in eval mode and stays untouched."""
    theta = {name: p for name, p in model.named_parameters() if p.requires_grad}
    total = {name: torch.zeros_like(p) for name, p in theta.items()}
    images = images.to(next(model.parameters()).device)
    for x, y in zip(images.x.split(batch), images.y.split(batch), strict=True):
        loss = F.cross_entropy(model(x.float() / 255), y, reduction="sum")
        gradients = torch.autograd.grad(loss, list(theta.values()), allow_unused=True)
        for name, gradient in zip(theta, gradients, strict=True):
            total[name] += 0 if gradient is None else gradient
    flat = torch.cat([t.abs().flatten() for t in total.values()])
    threshold = flat.kthvalue(int(sparsity * len(flat)) + 1).values
    return {name: (t.abs() >= threshold) & (t != 0) for name, t in total.items()}


def only(model: nn.Module, masks: dict[str, Tensor]) -> Callable[[], dict[str, Tensor]]:
    """For `descend`: zero the gradient outside the masks, where Adam then never moves a weight."""

    @torch.no_grad()
    def add_gradients() -> dict[str, Tensor]:
        for name, p in model.named_parameters():
            if p.grad is not None:
                p.grad *= masks[name]
        return {}

    return add_gradients
