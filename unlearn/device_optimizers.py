"""AdamW and SGD whose rates live in tensors, so that a CUDA graph can hold their step.

torch's fused kernels read the learning rate from a tensor but take beta 1 and momentum as
constants, and a one-cycle schedule moves those too. Both classes put the change around the kernel.
They differ from torch's by rounding.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
from torch import Tensor

from unlearn.feeds import Numbers

Rates = Iterable[tuple[float, float]]  # of every step: learning rate; beta 1 or momentum
OptimizerState = dict[Tensor, Tensor]  # by parameter
BETA1, BETA2 = 0.9, 0.999


def adamw_numbers(rates: Rates, weight_decay: float) -> Iterator[tuple[float, float, float]]:
    """Yield, per step, what `DeviceAdamW` needs: lr', the factor on M and that on the weights."""
    before = 1.0
    for t, (lr, beta1) in enumerate(rates, start=1):
        scale = (1 - beta1) / (1 - BETA1)
        corrected = lr * scale * (1 - BETA1**t) / (1 - beta1**t)
        yield corrected, beta1 * before / (BETA1 * scale), 1 - lr * weight_decay
        before = scale


class DeviceAdamW:
    """AdamW (arXiv:1711.05101), beta 1 = b_t per step, by a fused kernel whose beta 1 is B = 0.9.

    The kernel computes M' = B M + (1 - B) g and moves by lr' M' / (1 - B^t). It keeps the first
    moment m as M = m / s_t, s_t = (1 - b_t) / (1 - B): handed M b_t s_(t-1) / (B s_t) and lr' = lr
    s_t (1 - B^t) / (1 - b_t^t), it computes m' = b_t m + (1 - b_t) g and AdamW's move. At a
    constant b_t = B nothing is changed. Weights decay beforehand, as torch's do.

    parameters: those to move
    rates: learning rate and beta 1 per step
    weight_decay: at least 0
    cycles: whether beta 1 ever differs from 0.9
    held: whether numbers are tensors; None for the device's own way
    """

    def __init__(
        self,
        parameters: Sequence[Tensor],
        rates: Rates,
        weight_decay: float,
        cycles: bool,
        held: bool | None = None,
    ) -> None:
        self.parameters, self.cycles, self.decays = parameters, cycles, weight_decay > 0
        device = parameters[0].device
        self.numbers = Numbers(adamw_numbers(rates, weight_decay), device, held)
        self.first: OptimizerState = {p: torch.zeros_like(p) for p in parameters}
        self.second: OptimizerState = {p: torch.zeros_like(p) for p in parameters}
        self.steps: OptimizerState = {p: torch.zeros((), device=device) for p in parameters}

    @torch.no_grad()
    def __call__(self) -> None:
        """Move the parameters that have a gradient."""
        lr, factor, keep = next(self.numbers)
        moving, gradients = _with_gradients(self.parameters)
        first = [self.first[p] for p in moving]
        second = [self.second[p] for p in moving]
        steps = [self.steps[p] for p in moving]
        if self.decays:
            torch._foreach_mul_(moving, keep)
        if self.cycles:
            torch._foreach_mul_(first, factor)
        torch._foreach_add_(steps, 1)
        torch._fused_adamw_(
            moving,
            gradients,
            first,
            second,
            [],
            steps,
            lr=lr,
            beta1=BETA1,
            beta2=BETA2,
            weight_decay=0.0,
            eps=1e-8,
            amsgrad=False,
            maximize=False,
        )


class DeviceSGD:
    """SGD whose momentum is m_t: v' = m_t v + g + weight_decay theta, theta' = theta - lr v'.

    The knobs are those of `DeviceAdamW`; rates are learning rate and momentum per step.
    """

    def __init__(
        self,
        parameters: Sequence[Tensor],
        rates: Rates,
        weight_decay: float,
        cycles: bool,
        held: bool | None = None,
    ) -> None:
        self.parameters, self.weight_decay = parameters, weight_decay
        self.numbers = Numbers(rates, parameters[0].device, held)
        self.velocity: OptimizerState = {p: torch.zeros_like(p) for p in parameters}

    @torch.no_grad()
    def __call__(self) -> None:
        """Move the parameters that have a gradient."""
        lr, momentum = next(self.numbers)
        moving, gradients = _with_gradients(self.parameters)
        velocity = [self.velocity[p] for p in moving]
        torch._foreach_mul_(velocity, momentum)
        torch._fused_sgd_(
            moving,
            gradients,
            velocity,
            weight_decay=self.weight_decay,
            momentum=1.0,
            lr=lr,
            dampening=0.0,
            nesterov=False,
            maximize=False,
            is_first_step=False,
        )


class DeviceNesterov(DeviceSGD):
    """SGD with Nesterov's momentum: v' = m_t v + g + weight_decay theta, theta' = theta - lr (g +
    weight_decay theta + m_t v')."""

    @torch.no_grad()
    def __call__(self) -> None:
        """Move the parameters that have a gradient."""
        lr, momentum = next(self.numbers)
        moving, gradients = _with_gradients(self.parameters)
        velocity = [self.velocity[p] for p in moving]
        pulls = torch._foreach_add(gradients, moving, alpha=self.weight_decay)
        torch._foreach_mul_(velocity, momentum)
        torch._foreach_add_(velocity, pulls)
        ahead = torch._foreach_mul(velocity, momentum)
        torch._foreach_add_(ahead, pulls)
        torch._foreach_mul_(ahead, lr)
        torch._foreach_sub_(moving, ahead)


def _with_gradients(parameters: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    moving = [p for p in parameters if p.grad is not None]
    return moving, [p.grad for p in moving if p.grad is not None]


DEVICE_OPTIMIZERS: dict[str, Callable[..., Callable[[], None]]] = {
    "adamw": DeviceAdamW,
    "sgd": DeviceSGD,
    "nesterov": DeviceNesterov,
}
