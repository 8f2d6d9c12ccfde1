"""Named random streams: the same seed and purpose give the same numbers on every machine and in any
order."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

NOISY = (
    "Drop",
    "StochasticDepth",
)  # torch's, timm's and torchvision's layers that draw from the global generators


def _number(seed: int, *purpose: object) -> int:
    """Seed and purpose as one number."""
    text = "/".join(str(part) for part in (seed, *purpose))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "big")


def stream(seed: int, *purpose: object, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator seeded by a hash of `seed` and `purpose`, so that no two purposes share
    numbers."""
    return torch.Generator(device).manual_seed(_number(seed, *purpose))


@contextmanager
def seeded(seed: int, *purpose: object) -> Iterator[None]:
    """Inside, torch's global generators are seeded by a hash of `seed` and `purpose`; outside, as
    they were."""
    with torch.random.fork_rng():
        torch.manual_seed(_number(seed, *purpose))
        yield


@contextmanager
def globally(generator: torch.Generator) -> Iterator[None]:
    """Inside, torch's global generators (CPU and every GPU) are seeded from `generator`; outside,
    as they were.

    For what takes no generator: initial weights of layers, dropout.
    """
    seed = int(torch.randint(2**62, (1,), generator=generator, device=generator.device))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


@contextmanager
def layer_noise(model: nn.Module, generator: torch.Generator) -> Iterator[None]:
    """Seed dropout and stochastic depth of `model` from `generator`; a model without them draws
    nothing from it."""
    if draws_in_layers(model):
        with globally(generator):
            yield
    else:
        yield


def draws_in_layers(model: nn.Module) -> bool:
    """Whether `model` has layers of dropout or stochastic depth that draw."""
    return any(
        max(getattr(layer, "p", 0) or 0, getattr(layer, "drop_prob", 0) or 0) > 0
        for layer in _dropout_layers(model)
    )


def _dropout_layers(model: nn.Module) -> list[nn.Module]:
    return [
        layer for layer in model.modules() if any(name in type(layer).__name__ for name in NOISY)
    ]
