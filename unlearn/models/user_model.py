"""The user's own classifier, by `package.module:builder`, fitted with what the science asks of a model."""

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

Shape = tuple[int, int, int]


class Adopted(Classifying):
    """A foreign network `net` whose last linear layer was moved out into `head`."""

    def __init__(self, net: nn.Module, head: nn.Module, normalise: nn.Module) -> None:
        super().__init__()
        self.net, self.head, self.normalise = net, head, normalise

    def features(self, x: Tensor) -> Tensor:
        """What the foreign network hands its last linear layer, (n, d)."""
        return self.net(self.normalise(x))


def builder_of(name: str) -> Callable[..., Any]:
    """The callable that `package.module:builder` names. Raises `BadInput` that says what is missing."""
    module, _, attribute = name.partition(":")
    try:
        found: Any = importlib.import_module(module)
    except ImportError as error:
        raise BadInput(
            f"model {name!r}: cannot import {module} ({error}); put its folder on PYTHONPATH"
        ) from error
    for part in attribute.split("."):
        require(hasattr(found, part), f"model {name!r}: {module} has no {attribute}")
        found = getattr(found, part)
    require(callable(found), f"model {name!r}: {attribute} is not callable")
    return found


def adopt(
    name: str,
    shape: Shape,
    classes: int,
    weights: str = "",
    mean: Sequence[float] = (0.0,),
    std: Sequence[float] = (1.0,),
    **options: Any,
) -> Any:
    """Build, load `weights` in the builder's own naming, and make a `Classifying` of it.

    The builder is called with `options`, and with `shape`, `classes` or `num_classes` where its signature has them. A
    module that is `Classifying` or `Generative` is taken as it is. Otherwise pixels in [0, 1] are normalised by
    `mean` and `std` first (default: left alone), and the last linear layer becomes the head.
    """
    builder = builder_of(name)
    made = builder(**{**_offered(builder, shape, classes), **options})
    require(
        isinstance(made, nn.Module),
        f"model {name!r} must return a torch module, not {type(made).__name__}",
    )
    if weights:
        load_weights(name, made, weights)
    if isinstance(made, Classifying | Generative):
        return made
    return _headless(name, made, shape, classes, Normalise(shape[0], mean, std))


def _offered(builder: Callable[..., Any], shape: Shape, classes: int) -> dict[str, Any]:
    wanted = inspect.signature(builder).parameters
    offered = {"shape": shape, "classes": classes, "num_classes": classes}
    return {key: value for key, value in offered.items() if key in wanted}


def _last_linear(name: str, model: nn.Module) -> tuple[str, nn.Linear]:
    layers = [
        (path, layer)
        for path, layer in model.named_modules()
        if isinstance(layer, nn.Linear) and path
    ]
    require(
        len(layers) > 0, f"model {name!r} has no linear layer for a head; make it a Classifying"
    )
    return layers[-1]


@torch.no_grad()
def _headless(
    name: str, model: nn.Module, shape: Shape, classes: int, normalise: Normalise
) -> Adopted:
    """Move the last linear layer out of `model`; refuse a network whose logits are not that layer's answer."""
    path, head = _last_linear(name, model)
    x = torch.rand(2, *shape, generator=torch.Generator().manual_seed(0))
    before = model.eval()(normalise(x))
    answer = tuple(before.shape)
    require(
        answer == (2, classes),
        f"model {name!r} answers {answer} for 2 images, not (2, {classes}); set its options",
    )
    parent, _, child = path.rpartition(".")
    setattr(model.get_submodule(parent), child, nn.Identity())
    adopted = Adopted(model, head, normalise).eval()
    same = torch.allclose(adopted(x), before, atol=1e-5)
    require(same, f"model {name!r}: {path!r} is not its last step; make it a Classifying")
    return adopted
