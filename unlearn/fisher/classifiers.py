"""The diagonal Fisher information of a classifier, from any of its images."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unlearn.errors import require
from unlearn.fisher.diagonal import diagonal_fisher
from unlearn.fisher.per_sample import GRADIENT_BATCH, formulas_give_gradients, per_sample_fisher
from unlearn.models import Weights
from unlearn.splits import Images

FORMULA_BATCH = 64  # images per pass by the layers' formulas


def classifier_fisher(
    model: Any, images: Images, samples: int, generator: torch.Generator
) -> Weights:
    """Compute the empirical Fisher diagonal, by parameter name.

    The squared gradient of each image's cross-entropy (nats) under its true label, averaged over
    images. Uses the formulas of `diagonal_fisher` where they hold for the model; elsewhere one
    gradient per image, which is as exact and slower.

    model: classifier in eval mode
    images: images to draw from
    samples: images drawn without repetition, at least 1; all images where there are fewer
    generator: draws the images

    Raises `BadInput` for no samples or no images, `NotFinite` for an infinite or NaN result.
    """
    require(samples >= 1, f"samples must be at least 1, not {samples}")
    order = torch.randperm(len(images), generator=generator, device=generator.device)
    chosen = images.take(order[:samples].to(images.y.device))
    drawn = chosen.to(next(model.parameters()).device)
    require(len(drawn) > 0, "Fisher of no samples; give at least one image")
    first = Images(drawn.x[:1], drawn.y[:1])
    if not formulas_hold(model, first):
        return per_image_fisher(model, drawn)
    parts = zip(drawn.x.split(FORMULA_BATCH), drawn.y.split(FORMULA_BATCH), strict=True)
    return diagonal_fisher(model, (_losses(model, Images(x, y)) for x, y in parts))


def formulas_hold(model: nn.Module, image: Images) -> bool:
    """Tell whether the layers' formulas give the true gradient on one image (1, C, H, W)."""
    return formulas_give_gradients(model, _losses(model, image))


def _losses(model: nn.Module, images: Images) -> Callable[[], Tensor]:
    """Return a function that computes the cross-entropy of each image, (n,)."""
    return lambda: F.cross_entropy(model(images.pixels()), images.y, reduction="none")


def per_image_fisher(model: nn.Module, images: Images) -> Weights:
    """Compute the empirical Fisher diagonal over all `images` by one gradient per image.

    For any differentiable model whose images do not mix. Raises `NotFinite`.
    """
    parts = zip(images.x.split(GRADIENT_BATCH), images.y.split(GRADIENT_BATCH), strict=True)
    return per_sample_fisher(_CrossEntropy(model), ((x.float() / 255, y) for x, y in parts))


class _CrossEntropy(nn.Module):
    """The mean cross-entropy of a classifier's answers to pixels `x` with labels `y` (n,)."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(self.model(x), y)
