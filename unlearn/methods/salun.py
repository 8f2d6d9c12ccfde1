"""SalUn (arXiv:2310.12508): random labels, but only weights salient to forgotten images move."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unlearn.errors import require
from unlearn.methods.base import Losses, SearchSpace, StepFunction, Unlearned
from unlearn.methods.iterative import training_copy
from unlearn.methods.random_labels import RandomLabels
from unlearn.splits import Images, Splits

Masks = dict[str, Tensor]  # bool by parameter name: True where the weight may move


@dataclass(frozen=True)
class SalUn(RandomLabels):
    """Minimise CE(x_f, y') + alpha CE(x_r, y_r) (equation 6) over the salient weights only.

    A weight is salient where |gradient of CE(x_f, y_f)| at the original weights is in the top
    `1 - sparsity` share of all weights. One threshold holds for the whole network. The gradient is
    exact, over all forgotten training images; the authors' code took a step between batches while
    it summed them until December 2023. A weight whose gradient is 0 never moves.

    sparsity: share of all weights that stay as they are, in [0, 1).
    """

    space: ClassVar[SearchSpace] = {
        "sparsity": [0.1, 0.9],
        "alpha": [0.3, 3.0],
        "lr": [1e-4, 3e-3],
    }
    epoch_space: ClassVar[SearchSpace] = {**space, "epochs": [8.0, 32.0]}

    sparsity: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 <= self.sparsity < 1, f"sparsity must lie in [0, 1), not {self.sparsity}")

    def unlearn(
        self, model: Any, splits: Splits, generator: torch.Generator, **needs: Any
    ) -> Unlearned:
        student = training_copy(model)
        masks = saliency_masks(model, splits.train.forget, self.sparsity)
        losses = self.loss_terms(student, splits, generator)
        return self.minimise(student, losses, generator, mask_gradients(student, masks))


def saliency_masks(model: nn.Module, images: Images, sparsity: float, batch: int = 500) -> Masks:
    """Mark the salient weights: |mean gradient| at or above its `sparsity` quantile, and not 0.

    The gradient is that of the cross-entropy on `images`, the quantile is over all weights
    together. The model is in eval mode and stays untouched; frozen parameters get no mask.
    """
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    total = {name: torch.zeros_like(p) for name, p in parameters.items()}
    images = images.to(next(model.parameters()).device)
    for x, y in zip(images.x.split(batch), images.y.split(batch), strict=True):
        loss = F.cross_entropy(model(x.float() / 255), y, reduction="sum")
        gradients = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
        for name, gradient in zip(parameters, gradients, strict=True):
            total[name] += 0 if gradient is None else gradient
    magnitudes = torch.cat([t.abs().flatten() for t in total.values()])
    rank = int(sparsity * len(magnitudes))  # of the threshold, from 0
    threshold = magnitudes.kthvalue(rank + 1).values
    return {name: (t.abs() >= threshold) & (t != 0) for name, t in total.items()}


def mask_gradients(model: nn.Module, masks: Masks) -> StepFunction:
    """Return the `add_gradients` of `descend` that zeroes gradients outside the masks.

    Adam never moves a weight whose gradients are all 0.
    """

    @torch.no_grad()
    def add_gradients() -> Losses:
        for name, p in model.named_parameters():
            if p.grad is not None:
                p.grad *= masks[name]
        return {}

    return add_gradients
