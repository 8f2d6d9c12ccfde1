"""What the science asks of a model, beyond being an `nn.Module`."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

Shape = tuple[int, int, int]  # (channels, height, width)


@dataclass(frozen=True)
class Architecture:
    """How a network was built, without the files that it started from.

    name: a key of `MODELS`, a timm name, or `package.module:builder`
    shape: (channels, height, width) of the images
    classes: number of classes
    options: (name, value) pairs for the builder
    """

    name: str
    shape: Shape
    classes: int
    options: tuple[tuple[str, Any], ...] = ()


class Network(nn.Module):
    """A module that can be copied at any time.

    built_as: how it was built; None where `unlearn.models.build` did not build it
    """

    built_as: Architecture | None = None

    def __deepcopy__(self, memo: dict[int, Any]) -> "Network":
        """Copy the module. Tensors that autograd computed are copied without their history.

        `weight_norm`, `spectral_norm` and `prune` of `torch.nn.utils` leave such a tensor in a
        layer at every forward pass, and torch refuses to copy it.
        """
        for module in self.modules():
            for tensor in _computed(vars(module)):
                memo[id(tensor)] = tensor.detach().clone()
        replica = type(self).__new__(type(self))
        memo[id(self)] = replica
        replica.__dict__ = copy.deepcopy(self.__dict__, memo)
        return replica


def _computed(value: Any) -> Iterator[Tensor]:
    """Yield the tensors with a history in a value, and in dictionaries, lists and tuples of it."""
    if isinstance(value, Tensor):
        if value.grad_fn is not None:
            yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _computed(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _computed(inner)


class Generative(Network):
    """A conditional VAE whose pixels are Bernoulli means in [0, 1].

    shape: (channels, height, width) of one image
    classes: number of labels; a label is passed as `c` (n, classes), one-hot or soft
    z_dim: size of the latent
    """

    task: ClassVar[str] = "generator"
    shape: Shape
    classes: int
    z_dim: int

    def encode(self, x: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        """Encode images (n, *shape) with labels (n, classes).

        Returns mean and log variance of q(z | x, c), each (n, z_dim).
        """
        raise TypeError(f"{type(self).__name__} must define encode")

    def decode(self, z: Tensor, c: Tensor) -> Tensor:
        """Decode latents (n, z_dim) with labels (n, classes) to pixel logits (n, *shape)."""
        raise TypeError(f"{type(self).__name__} must define decode")

    def forward(self, z: Tensor, c: Tensor) -> Tensor:
        """Return the decoder's mean image (n, *shape), pixels in [0, 1]."""
        return self.decode(z, c).sigmoid()

    def one_hot(self, labels: Tensor) -> Tensor:
        """Encode labels (n,) as float (n, classes)."""
        return F.one_hot(labels, self.classes).float()


class Classifying(Network):
    """A classifier: images (n, channels, height, width) in [0, 1] -> logits (n, classes).

    A model that needs normalised images does that itself, as its first step.

    head: features (n, d) -> logits (n, classes)
    """

    task: ClassVar[str] = "classifier"
    head: nn.Module

    def features(self, x: Tensor) -> Tensor:
        """Compute the input of the head, (n, d)."""
        raise TypeError(f"{type(self).__name__} must define features")

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.head(self.features(x))
        return output
