"""The attacker's descent: every restart at once, in one tensor; the subject's weights never move."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor


def minimise(variables: Mapping[Tensor, float], loss: Callable[[], Tensor], steps: int) -> None:
    """Move `variables` (tensor -> learning rate) in place down `loss`, `steps` steps of Adam (arXiv:1412.6980).

    `loss` returns one number a restart (n,); restarts stay independent because their losses are summed and Adam works
    element by element. No gradient reaches a model's `.grad`.
    """
    tensors = [tensor.requires_grad_() for tensor in variables]
    optimizer = torch.optim.Adam(
        [{"params": [tensor], "lr": rate} for tensor, rate in variables.items()]
    )
    for _ in range(steps):
        gradients = torch.autograd.grad(loss().sum(), tensors)
        for tensor, gradient in zip(tensors, gradients, strict=True):
            tensor.grad = gradient
        optimizer.step()
    for tensor in tensors:
        tensor.requires_grad_(False).grad = None
