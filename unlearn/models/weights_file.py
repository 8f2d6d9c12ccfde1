"""Read weights from a file that somebody else made, without running code from it.

A file is known by its content, whatever its name: `.pt`, `.PT`, `.pth.tar`, `.ckpt` and `.bin` all
hold what `torch.save` writes.
"""

import re
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from unlearn.errors import BadInput, require

# Keys under which checkpoints nest their weights; the first one that a file has is taken.
WRAPPERS = (
    *("state_dict", "model_state_dict", "model", "net", "network", "module", "weights", "params"),
    *("state_dict_ema", "model_ema", "ema_state_dict", "ema", "params_ema"),
)
OF_TRAINING = ("optim", "sched", "scaler", "callback", "loop")  # in keys of what is no network
DEPTH = 4  # of nested dictionaries that are searched
# What DataParallel, torch.compile, Lightning and AveragedModel put before every name.
PREFIXES = ("_orig_mod.", "module.", "model.", "net.")
COUNTERS = ("n_averaged", "total_ops", "total_params")  # of AveragedModel and of thop
NAMED = 3  # names that a message lists
MAX_REASON = 300  # characters of torch's message that ours quotes
FOREIGN_OBJECT = re.compile(r"(?:GLOBAL|global:?|class) ([\w.]+\.[\w.]+)")
SAVE = "save its state dict alone, as .safetensors or by torch.save(model.state_dict(), PATH)"


@dataclass(frozen=True)
class Checkpoint:
    """The state dict that a file holds.

    tensors: by name
    taken: where in the file they lie, keys joined by dots; "" where the file is the state dict
    others: where other state dicts lie, which are not taken
    """

    tensors: dict[str, Tensor]
    taken: str = ""
    others: tuple[str, ...] = ()

    def describe(self) -> str:
        """Tell which of the file's state dicts was taken; "" where there is no choice."""
        if not self.others:
            return f"weights are its {self.taken!r}" if self.taken else ""
        others = ", ".join(map(repr, self.others))
        return f"weights are its {self.taken!r}, not {others}; to use another one, save it alone"


def read_checkpoint(path: str) -> Checkpoint:
    """Read a state dict to the CPU from a file of safetensors or of `torch.save`.

    The latter is read by torch's weights-only reader, which runs no code from the file. Raises
    `BadInput` for anything else.
    """
    found = _read(Path(path))
    nested = dict(_state_dicts(found))
    require(
        len(nested) > 0,
        f"weights file {path} holds no state dict (names and tensors){_instead(found)}; {SAVE}",
    )
    taken = min(nested, key=_rank)
    known = len(nested) == 1 or _rank(taken) < len(WRAPPERS)
    listed = ", ".join(map(repr, nested))
    require(
        known, f"weights file {path} holds several state dicts, {listed}; save the right one alone"
    )
    others = tuple(name for name in nested if name != taken)
    return Checkpoint(nested[taken], taken, others)


def _read(path: Path) -> Any:
    """Read what the file holds. Raises `BadInput` where it is no file of weights."""
    require(path.is_file(), f"weights file {path} does not exist; give the path of a file")
    with path.open("rb") as file:
        start = file.read(64)
    for kind, action in _not_weights(start):
        raise BadInput(f"weights file {path} is {kind}; {action}")
    try:
        if start[8:9] == b"{":  # safetensors: the length of a header, 8 bytes, then JSON
            return safetensors.torch.load_file(path)
        with warnings.catch_warnings():  # torch's, about a file that it then refuses
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a broken or foreign file can make the readers raise anything
        raise BadInput(
            f"weights file {path} cannot be read safely: {_reason(error, start)}"
        ) from error


def _not_weights(start: bytes) -> Iterator[tuple[str, str]]:
    """Yield what the file is instead of weights, and what to do; nothing where it may be some."""
    text = start.lstrip().lower()
    if not start:
        yield "empty", "download it again"
    elif text.startswith((b"<!doctype", b"<html")):
        yield "an HTML page", "download the file itself, not the page that shows it"
    elif text.startswith(b"version https://git-lfs"):
        yield "a Git LFS pointer", "fetch the file that it stands for by `git lfs pull`"


def _reason(error: Exception, start: bytes) -> str:
    """Say in our words why a reader failed, and what to do; torch's advise to trust the file."""
    text = str(error)
    if isinstance(error, SafetensorError):
        return f"it is cut off or damaged ({_first_line(text)}); download it again"
    foreign = FOREIGN_OBJECT.search(text)
    if foreign is not None and not foreign.group(1).startswith("torch._"):
        return f"it holds {foreign.group(1)} beside tensors, which may run code; {SAVE}"
    if "TorchScript" in text:
        return f"it is a TorchScript program; {SAVE}"
    if foreign is not None or start.startswith(b"PK") or isinstance(error, EOFError):
        return f"it is cut off or damaged; download it again, or {SAVE}"
    return f"neither safetensors nor torch.save wrote it; {SAVE}"


def _first_line(text: str) -> str:
    lines = text.splitlines() or [""]
    return lines[0][:MAX_REASON]


def _state_dicts(found: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Yield every state dict in nested dictionaries: where it lies, and its tensors."""
    if _is_state_dict(found):
        yield ".".join(path), dict(found)
    elif isinstance(found, dict) and len(path) < DEPTH:
        for key, value in found.items():
            of_training = any(word in str(key).lower() for word in OF_TRAINING)
            if isinstance(key, str) and not of_training:
                yield from _state_dicts(value, (*path, key))


def _is_state_dict(found: Any) -> bool:
    """Tell whether a value is a non-empty dict of names and tensors."""
    if not isinstance(found, dict) or not found:
        return False
    return all(isinstance(k, str) and isinstance(t, Tensor) for k, t in found.items())


def _instead(found: Any) -> str:
    """Name what stands where a tensor should: the first value that is none."""
    if not isinstance(found, dict):
        return f": it is a {type(found).__name__}"
    for key, value in found.items():
        if not isinstance(value, Tensor | dict):
            return f": its {key!r} is a {type(value).__name__}"
    return ""


def _rank(taken: str) -> int:
    """Rank a place in the file by its outermost key: lower is taken first."""
    outermost = taken.split(".")[0]
    return WRAPPERS.index(outermost) if outermost in WRAPPERS else len(WRAPPERS)


def fitting(tensors: Mapping[str, Tensor], names: Iterable[str]) -> dict[str, Tensor]:
    """Return `tensors` by the names of a network, whose state dict has the names `names`.

    A prefix of `PREFIXES` that all tensors have is dropped, once or several times, only where no
    tensor has the network's name as it stands. `COUNTERS` that the network lacks are dropped.
    """
    known = set(names)
    kept = {}
    for name, tensor in tensors.items():
        counts = name.rpartition(".")[2] in COUNTERS
        if name in known or not counts:
            kept[name] = tensor
    form = kept
    while not known & form.keys():
        shared = [prefix for prefix in PREFIXES if all(name.startswith(prefix) for name in form)]
        if not shared or not form:
            return kept
        form = {name.removeprefix(shared[0]): tensor for name, tensor in form.items()}
    return form


def load_weights(name: str, model: nn.Module, path: str) -> None:
    """Load a file into the model called `name`. Raises `BadInput` where it does not fit."""
    load_tensors(name, model, read_checkpoint(path).tensors, path)


def load_tensors(name: str, model: nn.Module, given: Mapping[str, Tensor], path: str) -> None:
    """Load tensors that were read from `path`. Raises `BadInput` where they do not fit."""
    own = model.state_dict()
    tensors = fitting(given, own)
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        reason = misfit(own, tensors) or " ".join(str(error).split())[:MAX_REASON]
        raise BadInput(
            f"model {name!r}: {path} does not fit it: {reason}; give weights of this model"
        ) from error


def misfit(own: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> str:
    """Count and name what keeps tensors from fitting a network's own; "" where they fit."""
    missing = [name for name in own if name not in given]
    unexpected = [name for name in given if name not in own]
    misshapen = []
    for name, tensor in given.items():
        if name in own and own[name].shape != tensor.shape:
            shapes = f"{tuple(tensor.shape)} for {tuple(own[name].shape)}"
            misshapen.append(f"{name}: {shapes}")
    parts = {"missing": missing, "unexpected": unexpected, "of another shape": misshapen}
    return ", ".join(
        f"{len(names)} {what} ({_few(names)})" for what, names in parts.items() if names
    )


def _few(names: list[str]) -> str:
    """List the first names; "..." stands for the others."""
    more = ["..."] if len(names) > NAMED else []
    return ", ".join([*names[:NAMED], *more])
