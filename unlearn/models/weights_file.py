"""Weights from a file that somebody else made."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from unlearn.errors import BadInput, require

WRAPPERS = ("state_dict", "model_state_dict", "model", "net")  # where checkpoints put their weights


def read_weights(path: str) -> dict[str, Tensor]:
    """A state dict on the CPU from `.safetensors`, or from `.pt` / `.pth` by torch's weights-only reader, which runs
    no code from the file. Raises `BadInput` for anything else."""
    file = Path(path)
    require(file.is_file(), f"weights file {path} does not exist")
    require(file.suffix in READERS, f"weights file {path} must be one of {', '.join(READERS)}")
    try:
        found = READERS[file.suffix](file)
    except (
        Exception
    ) as error:  # the readers raise whatever a broken or foreign file makes them raise
        raise BadInput(
            f"weights file {path} cannot be read safely ({next(iter(str(error).splitlines()), type(error).__name__)}); "
            "save its state dict as .safetensors"
        ) from error
    for key in WRAPPERS:
        if isinstance(found, dict) and isinstance(found.get(key), dict):
            found = found[key]
    plain = (
        isinstance(found, dict)
        and bool(found)
        and all(isinstance(t, Tensor) for t in found.values())
    )
    require(plain, f"weights file {path} holds no state dict (names and tensors)")
    return {key.removeprefix("module."): tensor for key, tensor in found.items()}


def load_weights(name: str, model: nn.Module, path: str) -> None:
    """Load the file's weights into the model called `name`. Raises `BadInput` where they do not fit it."""
    try:
        model.load_state_dict(read_weights(path))
    except RuntimeError as error:
        raise BadInput(
            f"model {name!r}: {path} does not fit it ({' '.join(str(error).split())[:300]})"
        ) from error


def _torch(file: Path) -> Any:
    return torch.load(file, map_location="cpu", weights_only=True)


READERS: dict[str, Callable[[Path], Any]] = {
    ".safetensors": safetensors.torch.load_file,
    ".pt": _torch,
    ".pth": _torch,
}
