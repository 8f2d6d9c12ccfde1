"""Folders of weights with a card: what artifacts and promoted models are on disk.

`card.json` is written last: it marks the folder as complete and holds the SHA-256 of every file
beside it: under `sha256` of the weights, under `documents` of the others, by file name.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError

from unlearn.digests import sha256
from unlearn.errors import BadInput
from unlearn.files import exists, join, read_whole, write_whole

if TYPE_CHECKING:  # torch takes a second to import; what only moves a pointer needs none
    from unlearn.models import Weights

FORMAT = "amnesia/1"
Card = dict[str, Any]


def serialise(weights: Weights) -> bytes:
    """Return the bytes of a safetensors file that holds the weights."""
    from safetensors.torch import save

    tensors = {}
    for name, tensor in weights.items():
        tensors[name] = tensor.detach().cpu().contiguous()
    return save(tensors)


def checksums_of(files: Mapping[str, bytes]) -> dict[str, str]:
    """SHA-256 of each file, by its name."""
    return {name: sha256(data) for name, data in files.items()}


def with_card(weights_files: dict[str, bytes], card: Card) -> dict[str, bytes]:
    """Map file names to bytes: every weights file, then the card that holds their checksums."""
    files = {f"{name}.safetensors": data for name, data in weights_files.items()}
    full = {**card, "format": FORMAT, "sha256": checksums_of(weights_files)}
    files["card.json"] = json.dumps(full, indent=1, sort_keys=True).encode()
    return files


def write_files(folder: str, files: dict[str, bytes]) -> None:
    """Write the files in their order: the card, which is the last one, commits the folder."""
    for name, data in files.items():
        write_whole(join(folder, name), data)


def has_files(folder: str, files: dict[str, bytes]) -> bool:
    """Tell whether the folder holds each of the files with exactly these bytes."""
    for name, data in files.items():
        path = join(folder, name)
        if not exists(path) or read_whole(path) != data:
            return False
    return True


def read_card(folder: str) -> Card:
    """Return the card of a folder. Raises `BadInput` where it is missing, damaged or foreign."""
    path = join(folder, "card.json")
    try:
        text = read_whole(path)
    except FileNotFoundError as error:
        raise BadInput(
            f"{folder} has no card.json, so its weights cannot be verified; "
            "build or promote it again"
        ) from error
    try:
        card = json.loads(text)
    except ValueError as error:
        raise BadInput(
            f"{path} is damaged ({error}); delete {folder} and build it again"
        ) from error
    if not isinstance(card, dict) or card.get("format") != FORMAT:
        raise BadInput(
            f"{path} is not of format {FORMAT}: another program or another version of amnesia "
            f"wrote it; delete {folder} and build it again"
        )
    return card


def read_verified(folder: str, file: str, expected: str | None) -> bytes:
    """Return a file's bytes. Raises `BadInput` where it is missing or has another SHA-256."""
    path = join(folder, file)
    try:
        data = read_whole(path)
    except FileNotFoundError as error:
        raise BadInput(
            f"{path} is missing though its card names it; delete {folder} and build it again"
        ) from error
    if sha256(data) != expected:
        raise BadInput(
            f"{path} is damaged or foreign (SHA-256 differs from its card); "
            f"delete {folder} and build it again"
        )
    return data


def read_weights(folder: str, name: str, card: Card) -> Weights:
    """Return the weights of one file. Raises `BadInput` where it is missing or damaged."""
    from safetensors.torch import load

    path = join(folder, f"{name}.safetensors")
    data = read_verified(folder, f"{name}.safetensors", card["sha256"].get(name))
    try:
        return load(data)
    except SafetensorError as error:
        raise BadInput(
            f"{path} is not a safetensors file ({error}); delete {folder} and build it again"
        ) from error
