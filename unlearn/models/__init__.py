"""Every model that a spec can name. A builder takes (shape, classes) and returns a module with a `task`."""

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor

from unlearn.errors import known
from unlearn.models.cnn import CNN
from unlearn.models.cvae import CVAE

Weights = dict[str, Tensor]  # a state dict: parameters and buffers by name

MODELS: dict[str, Callable[..., Any]] = {
    "cvae-mlp": partial(CVAE, hidden=(512, 256)),
    "cvae-mlp-expanding": partial(CVAE, hidden=(256, 512)),
    "cnn": CNN,
}


def task_of(name: str) -> str:
    """`generator` or `classifier`, known without building the model."""
    builder = known("model", name, MODELS)
    kind: Any = getattr(builder, "func", builder)
    return kind.task


def build(name: str, shape: tuple[int, int, int], classes: int, weights: Weights | None = None) -> Any:
    """The model `name` for images of `shape` (channels, height, width), in eval mode, with `weights` when given."""
    model = known("model", name, MODELS)(shape, classes)
    if weights is not None:
        model.load_state_dict(weights)
    return model.eval()
