"""Every model that a spec can name. A builder takes (shape, classes, **options) and returns a module with a `task`.

Beyond `MODELS`: any timm name (`vit_tiny_patch16_224`, or `timm:resnet18` where ours has the same name), and the user's
own `package.module:builder`.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from torch import Tensor

from unlearn.errors import BadInput, require
from unlearn.models.cnn import CNN
from unlearn.models.convnets import VGG11BN, MobileNetV2, ResNet18
from unlearn.models.cvae import CVAE
from unlearn.models.cvae_conv import ConvCVAE
from unlearn.models.timm_model import Timm, knows
from unlearn.models.user_model import adopt, builder_of
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


def check_builder(name: str, allowed: Sequence[str], command: str) -> None:
    """Refuse a `package.module:builder` that is not `allowed`: importing and calling it runs its code. For names that
    come with data, from rows and cards; a spec's author means what it says."""
    own = name in allowed or not _foreign(name)
    require(
        own,
        f"it is built by {name}, code of your own; allow it with `amnesia {command} --builder {name}`",
    )


def _foreign(name: str) -> bool:
    return name not in MODELS and ":" in name and not name.startswith("timm:")


def task_of(name: str) -> str:
    """`generator` or `classifier`, known without building the model; one's own builder may carry a `task`."""
    if _foreign(name):
        return getattr(builder_of(name), "task", "classifier")
    builder = _builder(name)
    kind: Any = getattr(builder, "func", builder)
    return kind.task


def build(
    name: str,
    shape: tuple[int, int, int],
    classes: int,
    weights: Weights | None = None,
    options: Mapping[str, Any] | None = None,
) -> Any:
    """The model `name` for images of `shape` (channels, height, width), in eval mode, with `weights` when given.

    `options` go to the builder by name; `weights` among them is a file to start from, `pretrained` a download: neither
    is read where `weights` are given, since nothing of them would stay.
    """
    chosen = dict(options or {})
    if weights is not None:
        chosen = {
            key: value for key, value in chosen.items() if key not in ("weights", "pretrained")
        }
    start = chosen.pop("weights", None) if name in MODELS else None
    model = _called(name, _builder(name), shape, classes, chosen)
    if weights is not None:
        model.load_state_dict(weights)
    elif start is not None:
        load_weights(name, model, start)
    return model.eval()


def _called(
    name: str, builder: Callable[..., Any], shape: Any, classes: int, options: dict[str, Any]
) -> Any:
    try:
        return builder(shape, classes, **options)
    except BadInput:
        raise
    except (TypeError, ValueError, RuntimeError) as error:
        raise BadInput(
            f"model {name!r} cannot be built with the options {options} ({error})"
        ) from error


def _builder(name: str) -> Callable[..., Any]:
    """The builder behind a name; an unknown name lists what is known."""
    if name in MODELS:
        return MODELS[name]
    if name.startswith("timm:"):
        return partial(Timm, name=name.removeprefix("timm:"))
    if _foreign(name):
        return partial(adopt, name)
    if knows(name):
        return partial(Timm, name=name)
    raise BadInput(
        f"unknown model {name!r}; known: {', '.join(MODELS)}, any timm name, your package.module:builder"
    )
