"""Torch's optimizers for the CPU, without the import of torch's compiler.

torch guards what an optimizer does against being compiled. The guards import `torch._dynamo` with
sympy: two seconds of every process that trains, such as each worker of a sweep. Nothing here is
compiled, so these classes take the same steps unguarded; all numbers are torch's, bit for bit.
"""

import inspect
from collections.abc import Callable
from typing import Any

import torch

Method = Callable[..., Any]


def unguarded(method: Method) -> Method:
    """Return a method of torch's optimizers without what torch has wrapped around it."""
    bare: Method = inspect.unwrap(method)
    return bare


def step_of(kind: type[torch.optim.Optimizer]) -> Method:
    """Return the step of `kind`, which records no gradients."""
    step: Method = torch.no_grad()(unguarded(kind.step))
    return step


class Unguarded(torch.optim.Optimizer):
    """What all optimizers share."""

    add_param_group: Any = unguarded(torch.optim.Optimizer.add_param_group)
    zero_grad: Any = unguarded(torch.optim.Optimizer.zero_grad)


class Adam(Unguarded, torch.optim.Adam):
    """Adam (arXiv:1412.6980)."""

    step: Any = step_of(torch.optim.Adam)


class AdamW(Unguarded, torch.optim.AdamW):
    """Adam with decoupled weight decay (arXiv:1711.05101)."""

    step: Any = step_of(torch.optim.AdamW)


class SGD(Unguarded, torch.optim.SGD):
    """Stochastic gradient descent, with momentum."""

    step: Any = step_of(torch.optim.SGD)


class LBFGS(Unguarded, torch.optim.LBFGS):
    """L-BFGS, whose steps each read all data."""

    step: Any = step_of(torch.optim.LBFGS)
