"""Gradient descent on an attacker's variables: all restarts at once, in one tensor."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from unlearn.optimizers import Adam


def minimise(
    variables: Mapping[Tensor, float],
    loss: Callable[[], Tensor],
    steps: int,
    after: Callable[[], None] | None = None,
) -> None:
    """Move `variables` (tensor -> learning rate) in place down `loss`, `steps` steps of Adam.

    `loss` returns one number per restart, (n,). Restarts stay independent, because their losses
    are summed and Adam (arXiv:1412.6980) works element by element. The subject's weights do not
    move, and no gradient reaches their `.grad`. `after` runs after every step, without gradients.
    """
    tensors = [tensor.requires_grad_() for tensor in variables]
    groups = [{"params": [tensor], "lr": rate} for tensor, rate in variables.items()]
    optimizer = Adam(groups)
    for _ in range(steps):
        gradients = torch.autograd.grad(loss().sum(), tensors)
        for tensor, gradient in zip(tensors, gradients, strict=True):
            tensor.grad = gradient
        optimizer.step()
        if after is not None:
            with torch.no_grad():
                after()
    for tensor in tensors:
        tensor.requires_grad_(False).grad = None
