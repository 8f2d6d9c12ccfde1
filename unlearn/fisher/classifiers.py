"""The diagonal Fisher information of a classifier, from any of its images."""

import copy
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from unlearn.errors import BadInput, NotFinite, require
from unlearn.fisher.diagonal import diagonal_fisher
from unlearn.models import Weights
from unlearn.splits import Images

WIDE = 64  # images at once by the layers' formulas
DEEP = 8  # images at once with one whole gradient each
ROUNDING = 1e-2  # of a parameter's largest entry, that the formulas may be off on one image


def covered(model: nn.Module, image: Images) -> bool:
    """Whether the batched formulas hold, tried on one image (1, C, H, W): not so of a vision transformer's layers, nor
    of one that is used twice or whose weights are used outside of it."""
    theta = {name: p for name, p in model.named_parameters() if p.requires_grad}
    gradients = torch.autograd.grad(
        _losses(model, image)().sum(), list(theta.values()), allow_unused=True
    )
    try:
        fisher = diagonal_fisher(model, [_losses(model, image)])
    except BadInput:
        return False
    for name, gradient in zip(theta, gradients, strict=True):
        exact = torch.zeros_like(fisher[name]) if gradient is None else gradient.square()
        if (fisher[name] - exact).abs().max() > ROUNDING * exact.max():
            return False
    return True


def _losses(model: nn.Module, images: Images) -> Callable[[], Tensor]:
    return lambda: F.cross_entropy(model(images.pixels()), images.y, reduction="none")


def classifier_fisher(
    model: Any, images: Images, samples: int, generator: torch.Generator
) -> Weights:
    """Mean squared gradient of each image's cross-entropy under its true label (the empirical Fisher), by parameter.

    Of `samples` images drawn from `images` without repetition (all of them where there are fewer). The model is in
    eval mode. Where the batched formulas do not hold, it is one gradient an image, which is slower and exact too.
    """
    require(samples >= 1, f"samples must be at least 1, not {samples}")
    order = torch.randperm(len(images), generator=generator, device=generator.device)[:samples]
    drawn = images.take(order.to(images.y.device)).to(next(model.parameters()).device)
    require(len(drawn) > 0, "Fisher of no samples; give at least one")
    if not covered(model, Images(drawn.x[:1], drawn.y[:1])):
        return per_image_fisher(model, drawn)
    parts = zip(drawn.x.split(WIDE), drawn.y.split(WIDE), strict=True)
    return diagonal_fisher(model, (_losses(model, Images(x, y)) for x, y in parts))


def per_image_fisher(model: nn.Module, images: Images) -> Weights:
    """The same by one gradient an image, for any differentiable model whose images do not mix. Raises `NotFinite`."""
    model = copy.deepcopy(
        model
    )  # of a layer with two names `functional_call` leaves its own tensors behind
    theta = {name: p.detach() for name, p in model.named_parameters()}

    def loss(theta: Weights, x: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(functional_call(model, theta, (x[None],)), y[None])

    each = vmap(grad(loss), in_dims=(None, 0, 0))
    total = {name: torch.zeros_like(p) for name, p in theta.items()}
    with sdpa_kernel(SDPBackend.MATH):  # the fused attention kernels cannot be mapped over images
        for x, y in zip(images.x.split(DEEP), images.y.split(DEEP), strict=True):
            for name, gradient in each(theta, x.float() / 255, y).items():
                total[name] += gradient.square().sum(0)
    for name, tensor in total.items():
        if not torch.isfinite(tensor).all():
            raise NotFinite(
                f"Fisher of {name!r} is not finite; the model's loss overflows on its own samples"
            )
    return {name: tensor / len(images) for name, tensor in total.items()}
