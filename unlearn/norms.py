"""Measure the running statistics of batch and instance norms anew."""

from collections.abc import Callable
from itertools import count
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from unlearn.errors import require
from unlearn.splits import Images

# The classes that hold running statistics: batch norms of every kind, `SyncBatchNorm` among them,
# and instance norms. torch exports them under these names only.
NORMS = (_BatchNorm, _InstanceNorm)


def batch_norms(model: nn.Module) -> list[Any]:
    """Return the norms of `model` that keep running statistics, batch and instance norms."""
    norms = [layer for layer in model.modules() if isinstance(layer, NORMS)]
    return [norm for norm in norms if norm.track_running_stats]


@torch.no_grad()
def recalibrate(
    model: Any, images: Images, generator: torch.Generator, batch: int = 250, batches: int = 8
) -> None:
    """Replace the running statistics of every norm, in place, by their plain mean over batches.

    Weights that are changed by arithmetic give other activations than those that the statistics
    were measured on (arXiv:2211.08403). Weights stay; the model ends in eval mode. A model without
    such norms is left alone and draws nothing.

    images: images to measure on
    generator: draws the batches
    batch: images per batch, at least 2
    batches: number of batches, at least 1

    Raises `BadInput` for `batch` or `batches` out of range.
    """
    require(
        batches >= 1 and batch >= 2,
        f"re-calibration needs at least 1 batch of at least 2 images, not {batches} of {batch}",
    )
    norms = batch_norms(model)
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    hooks = []
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a batch norm then takes the plain mean over all batches
        if isinstance(norm, _InstanceNorm):
            hooks.append(norm.register_forward_pre_hook(_plain_mean()))
        norm.train()
    device = next(model.parameters()).device
    drawn = images.to(device).batches(batch, generator)
    for _ in range(batches):
        x, _labels = next(drawn)
        model(x)
    for hook in hooks:
        hook.remove()
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    model.eval()


def _plain_mean() -> Callable[..., None]:
    """Return a hook that makes an instance norm take the plain mean over its calls.

    An instance norm with the momentum None keeps the statistics that it has.
    """
    calls = count(1)

    def hook(norm: Any, inputs: Any) -> None:
        norm.momentum = 1 / next(calls)

    return hook
