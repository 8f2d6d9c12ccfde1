"""The diagonal Fisher information by one whole gradient per sample: for any network that trains.

As exact as the formulas of `unlearn.fisher.diagonal`, and slower. Gradients are vectorised by
torch.func; a network whose forward cannot be (it reads a value, changes a tensor in place) gets one
backward pass per sample.
"""

import copy
import warnings
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from unlearn.errors import BadInput, require
from unlearn.fisher.diagonal import diagonal_fisher, refuse_non_finite
from unlearn.models import Weights

Sample = tuple[Tensor, ...]  # inputs of a loss module, samples first
GRADIENT_BATCH = 8  # samples per pass with a whole gradient each
TOLERANCE = 1e-2  # of a parameter's largest entry: how far the formulas may be off on one sample


def formulas_give_gradients(model: nn.Module, losses: Callable[[], Tensor]) -> bool:
    """Tell whether the layers' formulas give the model's true gradient.

    They do not for some layers of a vision transformer, for a layer that is used twice, nor for one
    whose weights are used outside of it.

    losses: runs `model` on one sample and returns its loss (1,), the same at every call
    """
    theta = {name: p for name, p in model.named_parameters() if p.requires_grad}
    gradients = torch.autograd.grad(losses().sum(), list(theta.values()), allow_unused=True)
    try:
        fisher = diagonal_fisher(model, [losses])
    except BadInput:
        return False
    for name, gradient in zip(theta, gradients, strict=True):
        exact = torch.zeros_like(fisher[name]) if gradient is None else gradient.square()
        error = (fisher[name] - exact).abs().max()
        if error > TOLERANCE * exact.max():
            return False
    return True


def per_sample_fisher(loss: nn.Module, batches: Iterable[Sample]) -> Weights:
    """Average the squared gradient of each sample's loss, by parameter name of `loss.model`.

    It is 0 for frozen parameters.

    loss: a module that has the network as `model`, in eval mode, and returns the mean loss of a
        batch, a scalar; the network's samples do not mix
    batches: inputs of `loss`

    Raises `BadInput` for no samples, `NotFinite` for an infinite or NaN result.
    """
    # A copy, because `functional_call` leaves its own tensors in a layer with two names.
    loss = copy.deepcopy(loss)
    total = {name: torch.zeros_like(p) for name, p in loss.named_parameters()}
    square_sums = _vectorised
    count = 0
    for batch in batches:
        parts = zip(*(tensor.split(GRADIENT_BATCH) for tensor in batch), strict=True)
        for part in parts:
            try:
                squares = square_sums(loss, part)
            except RuntimeError:  # torch.func cannot map this forward
                square_sums = _one_by_one
                squares = square_sums(loss, part)
            for name, square in squares.items():
                total[name] += square
            count += len(part[0])
    require(count > 0, "Fisher of no samples; give at least one")
    fisher = {name.removeprefix("model."): tensor / count for name, tensor in total.items()}
    refuse_non_finite(fisher)
    return fisher


def _trainable(loss: nn.Module) -> dict[str, nn.Parameter]:
    return {name: p for name, p in loss.named_parameters() if p.requires_grad}


def _vectorised(loss: nn.Module, part: Sample) -> Weights:
    """Return the sum over samples of the squared gradients, all computed at once."""
    theta = {name: p.detach() for name, p in _trainable(loss).items()}

    def of_one(theta: Weights, *sample: Tensor) -> Tensor:
        inputs = tuple(tensor[None] for tensor in sample)
        mean: Tensor = functional_call(loss, theta, inputs)
        return mean

    in_dims = (None, *(0 for _ in part))
    gradient_of_each = vmap(grad(of_one), in_dims=in_dims, randomness="different")
    with sdpa_kernel(SDPBackend.MATH), warnings.catch_warnings():
        # vmap cannot map the fused attention kernels; it warns of what it maps slowly
        warnings.filterwarnings("ignore", "There is a performance drop")
        gradients = gradient_of_each(theta, *part)
    return {name: gradient.square().sum(0) for name, gradient in gradients.items()}


def _one_by_one(loss: nn.Module, part: Sample) -> Weights:
    """Return the sum over samples of the squared gradients, one backward pass per sample."""
    theta = _trainable(loss)
    total = {name: torch.zeros_like(p) for name, p in theta.items()}
    for sample in zip(*part, strict=True):
        mean = loss(*(tensor[None] for tensor in sample))
        gradients = torch.autograd.grad(mean, list(theta.values()), allow_unused=True)
        for name, gradient in zip(theta, gradients, strict=True):
            total[name] += 0 if gradient is None else gradient.square()
    return total
