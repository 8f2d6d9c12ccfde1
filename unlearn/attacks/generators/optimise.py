"""Gradient descent on an attacker's variables: all restarts at once, in one tensor."""

from collections.abc import Callable, Mapping, Sequence
from itertools import repeat

import torch
from torch import Tensor, nn

from unlearn.capture import captured
from unlearn.device_optimizers import BETA1, DeviceAdamW
from unlearn.optimizers import Adam


def minimise(
    variables: Mapping[Tensor, float],
    loss: Callable[[], Tensor],
    steps: int,
    networks: Sequence[nn.Module],
    after: Callable[[], None] | None = None,
) -> None:
    """Move `variables` (tensor -> learning rate) in place down `loss`, `steps` steps of Adam.

    `loss` returns one number per restart, (n,), and calls `networks`. Restarts stay independent,
    because their losses are summed and Adam (arXiv:1412.6980) works element by element. The
    networks' weights do not move, and no gradient reaches their `.grad`. `after` runs after every
    step, without gradients. On a CUDA device the step runs as a CUDA graph where it can
    (`unlearn.capture`).
    """
    tensors = [tensor.requires_grad_() for tensor in variables]
    move = _mover(variables)

    def step() -> dict[str, Tensor]:
        total = loss().sum()
        for tensor, gradient in zip(tensors, torch.autograd.grad(total, tensors), strict=True):
            tensor.grad = gradient.contiguous()  # a fused kernel asks for one layout
        move()
        if after is not None:
            with torch.no_grad():
                after()
        return {"loss": total.detach()}

    with captured(step, steps, nn.ModuleList(networks), tensors[0].device) as take:
        for _ in range(steps):
            take()
        for tensor in tensors:
            tensor.requires_grad_(False).grad = None


def _mover(variables: Mapping[Tensor, float]) -> Callable[[], None]:
    """Return the function that moves each variable one step of Adam, at its own rate."""
    if not next(iter(variables)).is_cuda:
        groups = [{"params": [tensor], "lr": rate} for tensor, rate in variables.items()]
        optimizer = Adam(groups)
        return lambda: optimizer.step()
    moves = [
        DeviceAdamW([tensor], repeat((rate, BETA1)), weight_decay=0.0, cycles=False)
        for tensor, rate in variables.items()
    ]

    def move() -> None:
        for each in moves:
            each()

    return move
