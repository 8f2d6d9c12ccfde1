"""The user's own model, named as `package.module:builder`."""

import importlib
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from unlearn.errors import BadInput, require
from unlearn.models.base import Classifying, Generative
from unlearn.models.normalise import Normalise
from unlearn.models.weights_file import load_weights
from unlearn.namesakes import hidden_by

Shape = tuple[int, int, int]


class UserClassifier(Classifying):
    """A user's network, split into features and head.

    net: the network without its last linear layer, pixels -> (n, d)
    head: that layer, (n, d) -> logits (n, classes)
    normalise: first step, before `net`
    """

    def __init__(self, net: nn.Module, head: nn.Module, normalise: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.head = head
        self.normalise = normalise

    def features(self, x: Tensor) -> Tensor:
        """Compute the input of the network's last linear layer, (n, d)."""
        output: Tensor = self.net(self.normalise(x))
        return output


def find_builder(name: str) -> Callable[..., Any]:
    """Import the callable `package.module:builder`. Raises `BadInput` that says what is missing."""
    module, _, attribute = name.partition(":")
    try:
        found: Any = importlib.import_module(module)
    except ImportError as error:
        raise BadInput(
            f"model {name!r}: cannot import {module} ({error})"
            + (hidden_by(module, error) or "; put its folder on PYTHONPATH")
        ) from error
    for part in attribute.split("."):
        require(
            hasattr(found, part),
            f"model {name!r}: {module} has no {attribute}; name a function or class in it",
        )
        found = getattr(found, part)
    require(
        callable(found),
        f"model {name!r}: {attribute} is not callable; name a function or class",
    )
    builder: Callable[..., Any] = found
    return builder


def build_user_model(
    name: str,
    shape: Shape,
    classes: int,
    weights: str = "",
    mean: Sequence[float] = (0.0,),
    std: Sequence[float] = (1.0,),
    **options: Any,
) -> Any:
    """Call a user's builder and make its module a `Classifying`, unless it is one or `Generative`.

    A module that is `Classifying` or `Generative` is returned as it is. Of any other one the last
    linear layer becomes the head, and pixels in [0, 1] are normalised before it.

    name: `package.module:builder`
    shape: (channels, height, width), passed to a builder that has a parameter `shape`
    classes: passed to a builder that has a parameter `classes` or `num_classes`
    weights: file of weights, in the naming of the builder's module; "" for none
    mean: per channel, subtracted from the pixels (default: 0)
    std: per channel, divides the pixels (default: 1)
    options: further keyword arguments of the builder

    Raises `BadInput` for a builder that is missing, returns no module, or returns one without a
    last linear layer that gives the logits.
    """
    builder = find_builder(name)
    arguments = {**_standard_arguments(builder, shape, classes), **options}
    model = builder(**arguments)
    require(
        isinstance(model, nn.Module),
        f"model {name!r} must return a torch module, not {type(model).__name__}",
    )
    if weights:
        load_weights(name, model, weights)
    if isinstance(model, Classifying | Generative):
        return model
    normalise = Normalise(shape[0], mean, std)
    return _split_off_head(name, model, shape, classes, normalise)


def _standard_arguments(builder: Callable[..., Any], shape: Shape, classes: int) -> dict[str, Any]:
    """Return those of `shape`, `classes` and `num_classes` that the builder has parameters for."""
    parameters = inspect.signature(builder).parameters
    offered = {"shape": shape, "classes": classes, "num_classes": classes}
    return {key: value for key, value in offered.items() if key in parameters}


def _last_linear(name: str, model: nn.Module) -> tuple[str, nn.Linear]:
    """Return the path of the last linear layer inside `model`, and the layer."""
    linear = []
    for path, layer in model.named_modules():
        if isinstance(layer, nn.Linear) and path:
            linear.append((path, layer))
    require(
        len(linear) > 0,
        f"model {name!r} has no linear layer for a head; make it a Classifying",
    )
    return linear[-1]


@torch.no_grad()
def _split_off_head(
    name: str, model: nn.Module, shape: Shape, classes: int, normalise: Normalise
) -> UserClassifier:
    """Move the last linear layer out of `model` into a head.

    Raises `BadInput` where the model's logits are not the output of that layer, or are not
    (n, classes).
    """
    path, head = _last_linear(name, model)
    x = torch.rand(2, *shape, generator=torch.Generator().manual_seed(0))
    logits = model.eval()(normalise(x))
    found = tuple(logits.shape)
    require(
        found == (2, classes),
        f"model {name!r} answers {found} for 2 images, not (2, {classes}); set its options",
    )
    parent, _, child = path.rpartition(".")
    setattr(model.get_submodule(parent), child, nn.Identity())
    classifier = UserClassifier(model, head, normalise).eval()
    same = torch.allclose(classifier(x), logits, atol=1e-5)
    require(same, f"model {name!r}: {path!r} is not its last step; make it a Classifying")
    return classifier
