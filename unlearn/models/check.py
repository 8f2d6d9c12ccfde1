"""Check that a network can do what a plan asks of it, before anything is trained.

The network may be anybody's. Each check raises `BadInput` with the reason and what to do.
"""

import copy
from typing import Any

import safetensors.torch
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from torch import Tensor, nn

from unlearn.errors import BadInput, require
from unlearn.models import build
from unlearn.models.base import Architecture, Classifying, Generative, Shape
from unlearn.models.fresh import fresh
from unlearn.models.user_code import cause_of, user_code
from unlearn.models.user_model import logits_of, require_tensor
from unlearn.streams import seeded, stream
from unlearn.train import snapshot

IMAGES = 4  # random ones, which the network is tried on
TOLERANCE = 1e-4  # of the largest answer: how far two answers to one image may be apart
OF_MODEL = {"classifier": Classifying, "generator": Generative}


def check_network(model: Any, name: str, task: str, shape: Shape, classes: int) -> None:
    """Raise `BadInput` unless the network called `name` can be trained, copied, saved and scored.

    model: as `unlearn.models.build` made it, in eval mode; stays as it is
    task: `generator` or `classifier`, as the spec understands the name
    shape: (channels, height, width) of the images
    classes: number of classes
    """
    given, model = model, copy.deepcopy(model)
    _check_module(model, name, task)
    x = torch.rand(IMAGES, *shape, generator=stream(0, "check"))
    answer = _answers(model, name, x, classes)
    _check_repeatable(model, name, x, classes, answer)
    _check_training(model, name, x, classes)
    _check_saved(model, name)
    other = _loaded_anew(given, name)
    same = _agree(_answers(other, name, x, classes), answer)
    require(
        same,
        f"model {name!r} answers otherwise once its state dict is loaded into another one; "
        "register every tensor that it computes with as a parameter or buffer",
    )
    fresh(model, stream(0, "check"))


def _check_module(model: Any, name: str, task: str) -> None:
    """Check what the network is, without calling it."""
    found = getattr(model, "task", None)
    require(
        isinstance(model, OF_MODEL[task]),
        f"model {name!r} is a {found}, but its name stands for a {task}; "
        f"set `task = {found!r}` on the builder",
    )
    require(
        model.train(False) is model,
        f"model {name!r}: its train() does not return the model; end it with `return self`",
    )
    trained = [p for p in model.parameters() if p.requires_grad]
    require(
        len(trained) > 0,
        f"model {name!r} has no parameter that training moves; leave requires_grad on",
    )
    check_weights(model, name)
    for part, p in model.named_parameters():
        require(
            p.is_floating_point() or not p.requires_grad,
            f"model {name!r}: its weight {part!r} is {p.dtype}, which no method changes; "
            "make it a buffer",
        )


def check_weights(model: nn.Module, name: str) -> None:
    """Raise `BadInput` where a weight of the network called `name` is infinite or NaN."""
    for part, p in model.named_parameters():
        require(
            bool(torch.isfinite(p).all()),
            f"model {name!r}: its weight {part!r} is not finite; give other weights",
        )


def _answers(model: Any, name: str, x: Tensor, classes: int, seed: int = 0) -> Tensor:
    """Return what the network answers to images: logits, or a generator's code and its images."""
    with torch.no_grad(), seeded(seed, "check"):
        if isinstance(model, Generative):
            return _drawn(model, name, x, classes)
        features = model.features(x)
        require(
            isinstance(features, Tensor) and features.dim() == 2,
            f"model {name!r}: its features are no tensor (n, d); flatten them before the head",
        )
        return logits_of(name, model, x, classes, seed)


def _drawn(model: Generative, name: str, x: Tensor, classes: int) -> Tensor:
    """Return a generator's mean and log variance of images, and the logits that it decodes them to,
    as (n, numbers)."""
    shape = tuple(x.shape[1:])
    own = (tuple(model.shape), model.classes)
    require(
        own == (shape, classes),
        f"model {name!r} is for images of {own[0]} in {own[1]} classes, not {shape} in {classes}; "
        "take them from the builder's arguments",
    )
    c = model.one_hot(torch.arange(len(x)) % classes)
    with user_code(f"model {name!r}, given {len(x)} images,", "mend the model or its options"):
        mu, logvar = model.encode(x, c)
        pixels = model.decode(mu, c)
    for what, tensor, expected in (
        ("mean", mu, (len(x), model.z_dim)),
        ("log variance", logvar, (len(x), model.z_dim)),
        ("logits", pixels, (len(x), *shape)),
    ):
        require(
            isinstance(tensor, Tensor) and tuple(tensor.shape) == expected,
            f"model {name!r}: its {what} must be a tensor {expected}, not "
            f"{tuple(getattr(tensor, 'shape', ())) or type(tensor).__name__}",
        )
        require(
            bool(torch.isfinite(tensor).all()),
            f"model {name!r}: its {what} is not finite on pixels in [0, 1]; mend its forward",
        )
    return torch.cat([mu, logvar, pixels.flatten(1)], 1)


def _check_repeatable(model: Any, name: str, x: Tensor, classes: int, answer: Tensor) -> None:
    """Check that eval mode draws nothing: scores would change from run to run."""
    again = _answers(model, name, x, classes, seed=1)
    require(
        _agree(again, answer),
        f"model {name!r} answers differently each time in eval mode; switch its dropout or noise "
        "off there, as by F.dropout(x, p, self.training)",
    )


def _agree(one: Tensor, other: Tensor) -> bool:
    return bool((one - other).abs().max() <= TOLERANCE * other.abs().max().clamp(min=1))


def _check_training(model: Any, name: str, x: Tensor, classes: int) -> None:
    """Check that a training step reaches the weights."""
    pupil = copy.deepcopy(model).train()
    y = torch.arange(len(x)) % classes
    doing = f"model {name!r}, in training mode,"
    with seeded(0, "check"), user_code(doing, "mend the model or its options"):
        if isinstance(pupil, Generative):
            mu, logvar = pupil.encode(x, pupil.one_hot(y))
            pixels = pupil.decode(mu, pupil.one_hot(y))
            loss = F.binary_cross_entropy_with_logits(pixels, x.to(pixels)) + logvar.square().mean()
        else:
            require_tensor(f"{doing} answers", pupil.features(x))
            loss = F.cross_entropy(logits_of(name, pupil, x, classes), y)
        if loss.requires_grad:
            loss.backward()
    reached = [p for p in pupil.parameters() if p.grad is not None]
    require(
        len(reached) > 0,
        f"model {name!r}: no gradient reaches its weights; do not detach or convert its tensors",
    )


def _check_saved(model: nn.Module, name: str) -> None:
    """Check that the state dict holds tensors only, which a file can hold."""
    for part, value in model.state_dict().items():
        require(
            isinstance(value, Tensor),
            f"model {name!r}: its state {part!r} is a {type(value).__name__}, not a tensor; "
            "keep it out of the state dict",
        )
    try:
        safetensors.torch.save(snapshot(model))
    except (SafetensorError, KeyError, ValueError, RuntimeError) as error:
        raise BadInput(
            f"model {name!r}: its state dict cannot be saved ({cause_of(error)}); "
            "make what no file can hold a buffer with persistent=False"
        ) from error


def _loaded_anew(model: Any, name: str) -> Any:
    """Build the network once more and load the state dict; check that it is no other's."""
    built: Architecture = model.architecture
    options = dict(built.options)
    with seeded(1, "check"):
        other = build(built.name, built.shape, built.classes, model.state_dict(), options)
    require(
        not _share(model, other),
        f"model {name!r}: its builder returns the same network at every call; make a new one in it",
    )
    return other


def _share(one: nn.Module, other: nn.Module) -> bool:
    """Tell whether two networks have a parameter in common."""
    own = {p.data_ptr() for p in one.parameters()}
    return any(p.data_ptr() in own for p in other.parameters())
