"""What a worker's cache lends to cells comes back as it was, so that no cell changes another."""

import copy
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from unlearn.models import Weights

# Signed integers of the same size, by bytes of an element: their sum sees every bit.
BITS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


class LentWeights:
    """Tensors as they were when they were loaded.

    tensors: by name; a borrower may only read them
    load: loads them again
    """

    def __init__(self, tensors: Mapping[str, Tensor], load: Callable[[], Weights]) -> None:
        self.tensors, self.load = dict(tensors), load
        self.sums = self._sums()

    def _sums(self) -> Tensor:
        """Add up every tensor's bits, (tensors,), int64."""
        sums = [bit_sum(tensor) for tensor in self.tensors.values()]
        return torch.stack(sums) if sums else torch.zeros(0)

    @torch.no_grad()
    def restore(self) -> None:
        """Load the tensors again where a borrower has changed them."""
        if torch.equal(self._sums(), self.sums):
            return
        weights = self.load()
        for name, tensor in self.tensors.items():
            tensor.copy_(weights[name])


class LentModel:
    """A model as it was when it was built: its weights, modes, gradients, hooks and attributes."""

    def __init__(self, model: nn.Module, load: Callable[[], Weights]) -> None:
        self.attributes = [(module, _copied(vars(module))) for module in model.modules()]
        self.trainable = [(p, p.requires_grad) for p in model.parameters()]
        state = model.state_dict()
        self.weights = LentWeights(state, load)
        constants = {name: b for name, b in model.named_buffers() if name not in state}
        kept = {name: b.detach().clone() for name, b in constants.items()}
        self.constants = LentWeights(constants, lambda: kept)

    def restore(self) -> None:
        """Undo whatever a borrower did to the model."""
        for module, attributes in self.attributes:
            vars(module).clear()
            vars(module).update(_copied(attributes))
        for p, trainable in self.trainable:
            p.requires_grad_(trainable)
            p.grad = None
        self.weights.restore()
        self.constants.restore()


def _copied(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Copy a module's attributes, and what holds its parameters, buffers, children and hooks."""
    kinds = (dict, list, set)
    return {k: copy.copy(v) if isinstance(v, kinds) else v for k, v in attributes.items()}


def bit_sum(tensor: Tensor) -> Tensor:
    """Add up the bits of a tensor as whole numbers: a scalar int64, which wraps around."""
    flat = tensor.detach().contiguous().flatten()
    real = torch.view_as_real(flat) if flat.is_complex() else flat
    return real.view(BITS[real.element_size()]).sum(dtype=torch.int64)
