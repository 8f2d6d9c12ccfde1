"""The same architecture at random weights: the incompetent teacher, the yardstick of ZRF, a shadow model's start."""

import copy
from typing import TypeVar

import torch
from torch import nn

from unlearn.streams import globally

M = TypeVar("M", bound=nn.Module)


def fresh(model: M, generator: torch.Generator) -> M:
    """A copy of `model` in eval mode with every layer reset as its class does it, drawn from `generator`.

    Parameters that no layer resets (a transformer's class token and positions) are drawn from N(0, 0.02).
    """
    made = copy.deepcopy(model).eval().requires_grad_(True)
    with globally(generator), torch.no_grad():
        for layer in made.modules():
            reset = getattr(layer, "reset_parameters", None)
            if callable(reset):
                reset()
            else:
                for p in layer.parameters(recurse=False):
                    nn.init.normal_(p, std=0.02)
    return made
