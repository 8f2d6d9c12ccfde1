"""Read weights from a file that somebody else made, without running code from it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from unlearn.errors import BadInput, require

WRAPPERS = ("state_dict", "model_state_dict", "model", "net")  # keys under which checkpoints nest
DATA_PARALLEL_PREFIX = "module."
MAX_REASON = 300  # characters of torch's message that ours quotes


def read_weights(path: str) -> dict[str, Tensor]:
    """Read a state dict to the CPU from `.safetensors`, or from `.pt` / `.pth`.

    The latter are read by torch's weights-only reader, which runs no code from the file. A state
    dict inside a checkpoint is found under the keys in `WRAPPERS`, and the prefix `module.` of
    `DataParallel` is dropped. Raises `BadInput` for anything else.
    """
    found = _read(Path(path))
    for key in WRAPPERS:
        if isinstance(found, dict) and isinstance(found.get(key), dict):
            found = found[key]
    require(
        _is_state_dict(found),
        f"weights file {path} holds no state dict (names and tensors); save model.state_dict()",
    )
    return {key.removeprefix(DATA_PARALLEL_PREFIX): tensor for key, tensor in found.items()}


def _read(path: Path) -> Any:
    """Read the file with the reader of its suffix."""
    require(path.is_file(), f"weights file {path} does not exist; give the path of a file")
    known = ", ".join(READERS)
    require(path.suffix in READERS, f"weights file {path} must be one of {known}")
    try:
        return READERS[path.suffix](path)
    except Exception as error:  # a broken or foreign file can make the readers raise anything
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise BadInput(
            f"weights file {path} cannot be read safely ({reason}); "
            "save its state dict as .safetensors"
        ) from error


def _is_state_dict(found: Any) -> bool:
    """Tell whether a value is a non-empty dict of tensors."""
    if not isinstance(found, dict) or not found:
        return False
    return all(isinstance(tensor, Tensor) for tensor in found.values())


def load_weights(name: str, model: nn.Module, path: str) -> None:
    """Load a file into the model called `name`. Raises `BadInput` where it does not fit."""
    try:
        model.load_state_dict(read_weights(path))
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:MAX_REASON]
        raise BadInput(
            f"model {name!r}: {path} does not fit it ({reason}); give weights of this model"
        ) from error


def _read_torch(path: Path) -> Any:
    return torch.load(path, map_location="cpu", weights_only=True)


READERS: dict[str, Callable[[Path], Any]] = {
    ".safetensors": safetensors.torch.load_file,
    ".pt": _read_torch,
    ".pth": _read_torch,
}
