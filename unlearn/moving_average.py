"""An exponential moving average of a model's weights and statistics."""

import copy
from collections.abc import Iterator
from itertools import chain, count
from typing import Any

import torch
from torch import Tensor, nn

from unlearn.feeds import Numbers


class MovingAverage:
    """A moving average: mean <- d_t mean + (1 - d_t) weights after step t = 1, 2, ...

    It covers all parameters and buffers and starts as a copy of the model. d_t is `decay`, or
    (1 + t) / (10 + t) where that is less, so that a short training does not return where it
    started. Whole numbers (a batch norm's count) are averaged and truncated.

    model: what is averaged
    decay: largest d_t, in [0, 1)
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model, self.mean = model, copy.deepcopy(model)
        decays = (min(decay, (1 + t) / (10 + t)) for t in count(1))
        self.shares = Numbers(((d, 1 - d) for d in decays), next(model.parameters()).device)

        # An infinite constant, such as a mask, has no mean with itself; nor has a complex one here.
        self.moving = [_has_mean(tensor) for tensor in _tensors(model)]

    def _pairs(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield every mean with what it is the mean of."""
        return zip(_tensors(self.mean), _tensors(self.model), strict=True)

    @torch.no_grad()
    def __call__(self) -> None:
        """Update the mean by the model's present weights."""
        kept, taken = next(self.shares)
        pairs = [pair for pair, moves in zip(self._pairs(), self.moving, strict=True) if moves]
        floats = [pair for pair in pairs if pair[0].is_floating_point()]
        means, weights = [mean for mean, _ in floats], [weight for _, weight in floats]
        if isinstance(taken, Tensor):
            way = torch._foreach_sub(weights, means)
            torch._foreach_mul_(way, taken)
            torch._foreach_add_(means, way)
        else:
            torch._foreach_lerp_(means, weights, taken)
        whole = [pair for pair in pairs if not pair[0].is_floating_point()]
        if whole:
            _average_whole_numbers(whole, kept, taken)


def _average_whole_numbers(pairs: list[tuple[Tensor, Tensor]], kept: Any, taken: Any) -> None:
    """Set every mean to kept mean + taken number, truncated, in a few operations."""
    means, numbers = [mean for mean, _ in pairs], [number for _, number in pairs]
    together = torch.cat([mean.flatten() for mean in means]) * kept
    together = together + torch.cat([number.flatten() for number in numbers]) * taken
    parts = together.split([mean.numel() for mean in means])
    torch._foreach_copy_(means, [part.view_as(m) for part, m in zip(parts, means, strict=True)])


def _has_mean(tensor: Tensor) -> bool:
    """Tell whether a tensor can be averaged with its later self."""
    return not tensor.is_complex() and bool(torch.isfinite(tensor).all())


def _tensors(model: nn.Module) -> Iterator[Tensor]:
    for tensor in chain(model.parameters(), model.buffers()):
        yield tensor.detach()
