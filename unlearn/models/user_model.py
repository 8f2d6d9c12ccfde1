"""The user's own model, named as `package.module:builder`."""

import importlib
import inspect
import io
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr
from types import ModuleType
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor, nn

from unlearn.errors import BadInput, require
from unlearn.models.base import Classifying, Generative, Shape
from unlearn.models.normalise import Normalise
from unlearn.models.user_code import cause_of, user_code
from unlearn.models.weights_file import load_weights
from unlearn.namesakes import hidden_by

TASKS = ("generator", "classifier")
_split: "WeakSet[nn.Module]" = WeakSet()  # networks whose last layer has become a head


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


def find_builder(name: str, what: str = "model") -> Callable[..., Any]:
    """Import the callable `package.module:builder`. Raises `BadInput` that says what is missing.

    what: the callable makes it: a `model` or a `data set`, for the message
    """
    module, _, attribute = name.partition(":")
    found: Any = _import(f"{what} {name!r}", module)
    for part in attribute.split("."):
        with user_code(f"{what} {name!r}: looking up {attribute}", "mend the module"):
            known = hasattr(found, part)
        require(
            known, f"{what} {name!r}: {module} has no {attribute}; name a function or class in it"
        )
        found = getattr(found, part)
    require(
        callable(found),
        f"{what} {name!r}: {attribute} is not callable; name a function or class",
    )
    require(
        not isinstance(found, nn.Module),
        f"{what} {name!r}: {attribute} is one network, but every model needs its own; "
        "name a function or class that makes one",
    )
    builder: Callable[..., Any] = found
    return builder


def _import(what: str, module: str) -> ModuleType:
    """Import a module. Raises `BadInput` with the reason, whatever its code raises.

    What a module prints that then exits, such as one that parses the command line, is the reason.
    """
    printed = io.StringIO()
    try:
        with redirect_stderr(printed):
            imported = importlib.import_module(module)
    except SystemExit as error:
        last = (printed.getvalue().splitlines() or [""])[-1]
        raise BadInput(
            f"{what}: importing {module} ends the program, {cause_of(error)} {last!r}; "
            'put what it runs under `if __name__ == "__main__":`'
        ) from error
    except Exception as error:  # a user's module may raise anything
        missing = isinstance(error, ModuleNotFoundError) and _leads_to(error.name, module)
        action = "; put its folder on PYTHONPATH" if missing else "; mend the module"
        hidden = hidden_by(module, error) if isinstance(error, ImportError) else ""
        raise BadInput(
            f"{what}: cannot import {module} ({cause_of(error)}){hidden or action}"
        ) from error
    sys.stderr.write(printed.getvalue())
    return imported


def _leads_to(package: str | None, module: str) -> bool:
    """Tell whether `package` is the module, or one of the packages around it."""
    return package is not None and f"{module}.".startswith(f"{package}.")


def task_of_builder(name: str) -> str:
    """Return the `task` of a user's builder, `classifier` where it has none."""
    task: str = getattr(find_builder(name), "task", "classifier")
    require(
        task in TASKS,
        f"model {name!r}: its `task` is {task!r}, not {' or '.join(TASKS)}; set or delete it",
    )
    return task


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
    require(
        model not in _split,
        f"model {name!r}: its builder returns the same network at every call; make a new one in it",
    )
    _split.add(model)
    normalise = Normalise(shape[0], mean, std)
    return _split_off_head(name, model, shape, classes, normalise)


def _standard_arguments(builder: Callable[..., Any], shape: Shape, classes: int) -> dict[str, Any]:
    """Return those of `shape`, `classes` and `num_classes` that the builder has parameters for."""
    parameters = inspect.signature(builder).parameters
    offered = {"shape": shape, "classes": classes, "num_classes": classes}
    return {key: value for key, value in offered.items() if key in parameters}


@torch.no_grad()
def _split_off_head(
    name: str, model: nn.Module, shape: Shape, classes: int, normalise: Normalise
) -> UserClassifier:
    """Move the last linear layer out of `model` into a head.

    Raises `BadInput` where the model's logits are not the output of that layer, or are not
    (n, classes).
    """
    model.eval()  # not chained: a `train` of the user's may return nothing
    x = torch.rand(2, *shape, generator=torch.Generator().manual_seed(0))
    outputs: dict[str, Any] = {}
    linear = {path: layer for path, layer in model.named_modules() if _is_head(path, layer)}
    require(
        len(linear) > 0, f"model {name!r} has no linear layer for a head; make it a Classifying"
    )
    hooks = [layer.register_forward_hook(_note(outputs, path)) for path, layer in linear.items()]
    logits = logits_of(name, model, normalise(x), classes)
    for hook in hooks:
        hook.remove()
    last = [path for path, output in outputs.items() if output is logits]
    path = last[-1] if last else list(linear)[-1]
    head = linear[path]
    for each, layer in list(model.named_modules(remove_duplicate=False)):
        if layer is head:
            parent, _, child = each.rpartition(".")
            setattr(model.get_submodule(parent), child, nn.Identity())
    classifier = UserClassifier(model, head, normalise)
    classifier.eval()
    again = _seeded_call(name, classifier, x)
    same = again.shape == logits.shape and torch.allclose(again, logits, atol=1e-5)
    require(same, f"model {name!r}: {path!r} is not its last step; make it a Classifying")
    return classifier


def _is_head(path: str, layer: nn.Module) -> bool:
    return isinstance(layer, nn.Linear) and bool(path)


def _note(outputs: dict[str, Any], path: str) -> Callable[..., None]:
    """Return a hook that keeps the layer's last output under `path`, the latest call last."""

    def hook(layer: nn.Module, inputs: Any, output: Any) -> None:
        outputs.pop(path, None)
        outputs[path] = output

    return hook


def logits_of(name: str, model: nn.Module, x: Tensor, classes: int, seed: int = 0) -> Tensor:
    """Return the answers to normalised pixels; raise `BadInput` unless they are finite logits."""
    logits = require_tensor(f"model {name!r} answers", _seeded_call(name, model, x, seed))
    found, n = tuple(logits.shape), len(x)
    require(
        found == (n, classes),
        f"model {name!r} answers {found} for {n} images, not ({n}, {classes}); set its options",
    )
    require(
        logits.is_floating_point(),
        f"model {name!r} answers with {logits.dtype}; return logits, which are floats",
    )
    for part, tensor in model.named_parameters():
        require(
            bool(torch.isfinite(tensor).all()),
            f"model {name!r}: its weight {part!r} is not finite; give other weights",
        )
    require(
        bool(torch.isfinite(logits).all()),
        f"model {name!r} answers with NaN or infinity to pixels in [0, 1]; mend its forward",
    )
    return logits


def require_tensor(what: str, output: Any) -> Tensor:
    """Return what a network answered; raise `BadInput` where that is no tensor."""
    size = f" of {len(output)}" if isinstance(output, tuple | list | dict) else ""
    require(
        isinstance(output, Tensor),
        f"{what} with a {type(output).__name__}{size}, not with a tensor; return the logits alone",
    )
    tensor: Tensor = output
    return tensor


def _seeded_call(name: str, model: nn.Module, x: Tensor, seed: int = 0) -> Any:
    """Call a network with torch's global generator at `seed`, and leave that as it was.

    So a network that always drops out answers the same twice.
    """
    own = {p.dtype for p in model.parameters() if p.is_floating_point()}
    action = "mend the model or its options"
    if own - {x.dtype}:
        kinds = " and ".join(sorted(map(str, own)))
        action = f"its weights are {kinds}, images {x.dtype}: end the builder with .float()"
    shape = " x ".join(map(str, x.shape[1:]))
    with (
        torch.random.fork_rng(devices=[]),
        user_code(f"model {name!r}, given {len(x)} images of {shape},", action),
    ):
        torch.manual_seed(seed)
        return model(x)
