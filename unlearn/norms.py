"""Measure the running statistics of batch norms anew."""

from typing import Any

import torch
from torch import nn

from unlearn.errors import require
from unlearn.splits import Images

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def batch_norms(model: nn.Module) -> list[Any]:
    """Return the batch norms of `model` that keep running statistics."""
    norms = [layer for layer in model.modules() if isinstance(layer, NORMS)]
    return [norm for norm in norms if norm.track_running_stats]


@torch.no_grad()
def recalibrate(
    model: Any, images: Images, generator: torch.Generator, batch: int = 250, batches: int = 8
) -> None:
    """Replace every batch norm's running statistics, in place, by their plain mean over batches.

    Weights that are changed by arithmetic give other activations than those that the statistics
    were measured on (arXiv:2211.08403). Weights stay; the model ends in eval mode. A model without
    batch norms is left alone and draws nothing.

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
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # torch then takes the plain mean over all batches
        norm.train()
    device = next(model.parameters()).device
    drawn = images.to(device).batches(batch, generator)
    for _ in range(batches):
        x, _labels = next(drawn)
        model(x)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    model.eval()
