"""The diagonal Fisher information of a classifier, from any of its images."""

import copy
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from unlearn.errors import BadInput, require
from unlearn.fisher.diagonal import diagonal_fisher, refuse_non_finite
from unlearn.models import Weights
from unlearn.splits import Images

FORMULA_BATCH = 64  # images per pass by the layers' formulas
GRADIENT_BATCH = 8  # images per pass with a whole gradient each
TOLERANCE = 1e-2  # of a parameter's largest entry: how far the formulas may be off on one image


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
    """Tell whether the layers' formulas give the model's true gradient on one image (1, C, H, W).

    They do not for some layers of a vision transformer, for a layer that is used twice, nor for one
    whose weights are used outside of it.
    """
    theta = {name: p for name, p in model.named_parameters() if p.requires_grad}
    loss = _losses(model, image)().sum()
    gradients = torch.autograd.grad(loss, list(theta.values()), allow_unused=True)
    try:
        fisher = diagonal_fisher(model, [_losses(model, image)])
    except BadInput:
        return False
    for name, gradient in zip(theta, gradients, strict=True):
        exact = torch.zeros_like(fisher[name]) if gradient is None else gradient.square()
        error = (fisher[name] - exact).abs().max()
        if error > TOLERANCE * exact.max():
            return False
    return True


def _losses(model: nn.Module, images: Images) -> Callable[[], Tensor]:
    """Return a function that computes the cross-entropy of each image, (n,)."""
    return lambda: F.cross_entropy(model(images.pixels()), images.y, reduction="none")


def per_image_fisher(model: nn.Module, images: Images) -> Weights:
    """Compute the empirical Fisher diagonal over all `images` by one gradient per image.

    For any differentiable model whose images do not mix. Raises `NotFinite`.
    """
    # A copy, because `functional_call` leaves its own tensors in a layer with two names.
    model = copy.deepcopy(model)
    theta = {name: p.detach() for name, p in model.named_parameters()}

    def loss(theta: Weights, x: Tensor, y: Tensor) -> Tensor:
        logits = functional_call(model, theta, (x[None],))
        return F.cross_entropy(logits, y[None])

    gradient_of_each = vmap(grad(loss), in_dims=(None, 0, 0))
    total = {name: torch.zeros_like(p) for name, p in theta.items()}
    parts = zip(images.x.split(GRADIENT_BATCH), images.y.split(GRADIENT_BATCH), strict=True)
    with sdpa_kernel(SDPBackend.MATH):  # vmap cannot map the fused attention kernels
        for x, y in parts:
            gradients = gradient_of_each(theta, x.float() / 255, y)
            for name, gradient in gradients.items():
                total[name] += gradient.square().sum(0)
    fisher = {name: tensor / len(images) for name, tensor in total.items()}
    refuse_non_finite(fisher)
    return fisher
