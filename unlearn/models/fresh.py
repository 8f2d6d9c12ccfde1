"""A model's architecture at random weights.

It serves as the incompetent teacher, as the reference of the ZRF metric and as the start of a
shadow model.
"""

import copy
from typing import TypeVar

import torch
from torch import nn

from unlearn.streams import globally

M = TypeVar("M", bound=nn.Module)
STD = 0.02


def fresh(model: M, generator: torch.Generator) -> M:
    """Copy `model` in eval mode and draw new weights, each layer by its own `reset_parameters`.

    Parameters of a layer without that method (a transformer's class token and positions) are drawn
    from N(0, 0.02^2).

    generator: draws all weights
    """
    copied = copy.deepcopy(model).eval().requires_grad_(True)
    with globally(generator), torch.no_grad():
        for layer in copied.modules():
            reset = getattr(layer, "reset_parameters", None)
            if callable(reset):
                reset()
            else:
                for p in layer.parameters(recurse=False):
                    nn.init.normal_(p, std=STD)
    return copied
