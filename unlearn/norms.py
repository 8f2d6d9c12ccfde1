"""Batch norm's running statistics: measured anew on images that stay."""

from typing import Any

import torch
from torch import nn

from unlearn.errors import require
from unlearn.splits import Images

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def batch_norms(model: nn.Module) -> list[Any]:
    """The batch norms of `model` that keep running statistics."""
    return [
        layer for layer in model.modules() if isinstance(layer, NORMS) and layer.track_running_stats
    ]


@torch.no_grad()
def recalibrate(
    model: Any, images: Images, generator: torch.Generator, batch: int = 250, batches: int = 8
) -> None:
    """Replace, in place, every batch norm's running statistics by their plain mean over `batches` batches of `images`
    drawn from `generator`. Weights stay; the model comes back in eval mode; without batch norms nothing happens.

    Weights that were moved by arithmetic see other activations than the statistics were gathered on (arXiv:2211.08403).
    """
    require(
        batches >= 1 and batch >= 2,
        f"re-calibration needs batches of 2 and more, not {batches} of {batch}",
    )
    norms = batch_norms(model)
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean over all batches
        norm.train()
    drawn = images.to(next(model.parameters()).device).batches(batch, generator)
    for _ in range(batches):
        model(next(drawn)[0])
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    model.eval()
