"""Every model that a spec can name.

A builder takes (shape, classes, **options) and returns a module with a `task`. Beyond `MODELS` a
name may be any timm name (`vit_tiny_patch16_224`, or `timm:resnet18` where `MODELS` has the same
name), or the user's own `package.module:builder`.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from torch import Tensor

from unlearn.errors import BadInput, require
from unlearn.models.base import Architecture, Shape
from unlearn.models.cnn import CNN
from unlearn.models.convnets import VGG11BN, MobileNetV2, ResNet18
from unlearn.models.cvae import CVAE
from unlearn.models.cvae_conv import ConvCVAE
from unlearn.models.timm_model import TimmClassifier, is_timm_model
from unlearn.models.user_code import cause_of
from unlearn.models.user_model import build_user_model, task_of_builder
from unlearn.models.weights_file import load_weights

Weights = dict[str, Tensor]  # a state dict: parameters and buffers by name

MODELS: dict[str, Callable[..., Any]] = {
    "cvae-mlp": partial(CVAE, hidden=(512, 256)),
    "cvae-mlp-expanding": partial(CVAE, hidden=(256, 512)),
    "cvae-conv": ConvCVAE,
    "cvae-2d": partial(CVAE, hidden=(512, 256), z_dim=2),
    "cnn": CNN,
    "resnet18": ResNet18,
    "vgg11_bn": VGG11BN,
    "mobilenet_v2": MobileNetV2,
}
TIMM_PREFIX = "timm:"
FILES = ("weights", "pretrained")  # options that name what training starts from


def check_builder(name: str, allowed: Sequence[str], command: str) -> None:
    """Raise `BadInput` for a `package.module:builder` that is not allowed, as it runs its own code.

    For names that come with data, from rows and cards; the author of a spec names a builder on
    purpose.

    allowed: the builders that the user allows
    command: the command whose `--builder` allows one, for the message
    """
    require(
        name in allowed or not is_user_builder(name),
        f"it is built by {name}, code of your own; "
        f"allow it with `amnesia {command} --builder {name}`",
    )


def is_user_builder(name: str) -> bool:
    """Tell whether a name has the form `package.module:builder`."""
    return name not in MODELS and ":" in name and not name.startswith(TIMM_PREFIX)


def task_of(name: str) -> str:
    """Return `generator` or `classifier` without building the model.

    A user's builder may carry a `task`; without one it builds a classifier. Raises `BadInput` for
    an unknown name.
    """
    if is_user_builder(name):
        return task_of_builder(name)
    task: str = _class_of(name).task
    return task


def library_of(name: str) -> str:
    """Return the library whose networks a model's builder imports, which takes seconds.

    `torchvision` or `timm`; "" for none, and for a user's builder, which alone knows.
    """
    if is_user_builder(name):
        return ""
    library: str = getattr(_class_of(name), "library", "")
    return library


def build(
    name: str,
    shape: Shape,
    classes: int,
    weights: Weights | None = None,
    options: Mapping[str, Any] | None = None,
) -> Any:
    """Build a model in eval mode.

    name: a key of `MODELS`, a timm name, or `package.module:builder`
    shape: (channels, height, width) of the images
    classes: number of classes
    weights: state dict to load; None for those that the builder gives
    options: keyword arguments of the builder; `weights` among them is a file to start from,
        `pretrained` a download, and neither is read where `weights` are given, which would replace
        them

    Raises `BadInput` for an unknown name or option, and for a file that does not fit.
    """
    chosen = dict(options or {})
    shaping = {key: value for key, value in chosen.items() if key not in FILES}
    if weights is not None:
        chosen = dict(shaping)
    # The other builders load the file themselves, in the naming of its source.
    file = chosen.pop("weights", None) if name in MODELS else None
    model = _call_builder(name, shape, classes, chosen)
    if weights is not None:
        model.load_state_dict(weights)
    elif file is not None:
        load_weights(name, model, file)
    model.eval()  # not chained: a `train` of the user's may return nothing
    channels, height, width = shape
    model.built_as = Architecture(name, (channels, height, width), classes, _hashable(shaping))
    return model


def rebuild(architecture: Architecture) -> Any:
    """Build the network of an architecture at the weights that its builder draws."""
    options = dict(architecture.options)
    return build(architecture.name, architecture.shape, architecture.classes, options=options)


def _hashable(options: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    """Return options as (name, value) pairs, lists as tuples."""
    return tuple((key, _fixed(value)) for key, value in options.items())


def _fixed(value: Any) -> Any:
    return tuple(map(_fixed, value)) if isinstance(value, list | tuple) else value


def _call_builder(name: str, shape: Shape, classes: int, options: dict[str, Any]) -> Any:
    """Call the builder of a name; turn what it raises into `BadInput`."""
    builder = _builder_of(name)
    try:
        return builder(shape, classes, **options)
    except BadInput:
        raise
    except (Exception, SystemExit) as error:  # a user's builder may raise anything
        raise BadInput(
            f"model {name!r} cannot be built with the options {options} ({cause_of(error)}); "
            "change them"
        ) from error


def _class_of(name: str) -> Any:
    """Return the class that a name of ours or of timm stands for, inside a partial or not."""
    builder = _builder_of(name)
    return getattr(builder, "func", builder)


def _builder_of(name: str) -> Callable[..., Any]:
    """Return the builder of a name. Raises `BadInput` that lists the known names."""
    if name in MODELS:
        return MODELS[name]
    if name.startswith(TIMM_PREFIX):
        return partial(TimmClassifier, name=name.removeprefix(TIMM_PREFIX))
    if is_user_builder(name):
        return partial(build_user_model, name)
    if is_timm_model(name):
        return partial(TimmClassifier, name=name)
    known = ", ".join(MODELS)
    raise BadInput(
        f"unknown model {name!r}; known: {known}, any timm name, your package.module:builder"
    )
