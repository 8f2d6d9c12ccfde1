"""Weights on disk: the content-addressed store that cells share, and the gallery that is served.

    <store>/<kind>/<key>/{weights.safetensors, card.json}
    <gallery>/<name>/<version>/{amnesiac,original,oracle}.safetensors + card.json,  <gallery>/<name>/current

`card.json` is written last: it is the commit mark, and holds the SHA-256 of every weights file beside it.
"""

import hashlib
import json
from dataclasses import dataclass
from typing import Any

import safetensors.torch
from safetensors import SafetensorError

from unlearn.errors import BadInput, require
from unlearn.files import exists, folders, join, read_whole, write_whole
from unlearn.models import Weights

VARIANTS = ("amnesiac", "original", "oracle")
FORMAT = "amnesia/1"
Card = dict[str, Any]


def digest(content: object) -> str:
    """A short stable name (16 hex digits) of JSON-like content: equal content, equal name, on any machine."""
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def _bytes(weights: Weights) -> bytes:
    return safetensors.torch.save(
        {key: t.detach().cpu().contiguous() for key, t in weights.items()}
    )


def _sums(files: dict[str, bytes]) -> dict[str, str]:
    return {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}


def _vouched(files: dict[str, bytes], card: Card) -> dict[str, bytes]:
    """Every weights file, then the card that vouches for them."""
    full = {**card, "format": FORMAT, "sha256": _sums(files)}
    named = {f"{name}.safetensors": data for name, data in files.items()}
    return {**named, "card.json": json.dumps(full, indent=1, sort_keys=True).encode()}


def _commit(folder: str, files: dict[str, bytes]) -> None:
    """Write the files in their order."""
    for name, data in files.items():
        write_whole(join(folder, name), data)


def _holds(folder: str, files: dict[str, bytes]) -> bool:
    """Whether the folder has each of the files with these very bytes."""
    paths = {join(folder, name): data for name, data in files.items()}
    return all(exists(path) and read_whole(path) == data for path, data in paths.items())


def _card(folder: str) -> Card:
    try:
        card = json.loads(read_whole(join(folder, "card.json")))
    except FileNotFoundError as error:
        raise BadInput(
            f"{folder} has no card.json, so nothing vouches for its weights; build or promote it again"
        ) from error
    except ValueError as error:
        raise BadInput(
            f"{folder}/card.json is damaged ({error}); delete {folder} and build it again"
        ) from error
    if not isinstance(card, dict) or card.get("format") != FORMAT:
        raise BadInput(
            f"{folder}/card.json is not of format {FORMAT}; it was not written by amnesia, or by another version"
        )
    return card


def _weights(folder: str, name: str, card: Card) -> Weights:
    """Read one weights file; refuse it by name where its bytes are not those the card vouches for."""
    path = join(folder, f"{name}.safetensors")
    try:
        data = read_whole(path)
    except FileNotFoundError as error:
        raise BadInput(
            f"{path} is missing though its card names it; delete {folder} and build it again"
        ) from error
    if hashlib.sha256(data).hexdigest() != card["sha256"].get(name):
        raise BadInput(
            f"{path} is damaged or foreign (SHA-256 differs from its card); delete {folder} and build it again"
        )
    try:
        return safetensors.torch.load(data)
    except SafetensorError as error:
        raise BadInput(
            f"{path} is not a safetensors file ({error}); delete {folder} and build it again"
        ) from error


@dataclass(frozen=True)
class Store:
    """Artifacts by kind and key; the key hashes everything that determines the weights, so nothing is ever replaced."""

    root: str

    def folder(self, kind: str, key: str) -> str:
        return join(self.root, kind, key)

    def has(self, kind: str, key: str) -> bool:
        return exists(join(self.folder(kind, key), "card.json"))

    def save(self, kind: str, key: str, weights: Weights, card: Card) -> None:
        _commit(
            self.folder(kind, key),
            _vouched({"weights": _bytes(weights)}, {**card, "kind": kind, "key": key}),
        )

    def card(self, kind: str, key: str) -> Card:
        return _card(self.folder(kind, key))

    def load(self, kind: str, key: str) -> Weights:
        """The verified weights. Raises `BadInput` that names a missing, damaged or foreign file."""
        folder = self.folder(kind, key)
        card = _card(folder)
        require(
            (card.get("kind"), card.get("key")) == (kind, key),
            f"{folder} holds another artifact; delete it",
        )
        return _weights(folder, "weights", card)


@dataclass(frozen=True)
class Gallery:
    """Promoted models. `current` names the version that is served and the versions it was before."""

    root: str

    def names(self) -> list[str]:
        """The models that have a current version."""
        return [name for name in folders(self.root) if exists(join(self.root, name, "current"))]

    def versions(self, name: str) -> list[str]:
        return folders(join(self.root, name))

    def history(self, name: str) -> list[str]:
        """Promoted versions, oldest first; the last is served."""
        try:
            return json.loads(read_whole(join(self.root, name, "current")))["history"]
        except FileNotFoundError as error:
            known = ", ".join(self.names()) or "none"
            raise BadInput(
                f"no model {name!r} in the gallery {self.root}; known: {known}"
            ) from error
        except (ValueError, KeyError, TypeError) as error:
            raise BadInput(
                f"{join(self.root, name, 'current')} is damaged; promote {name!r} again"
            ) from error

    def current(self, name: str) -> str:
        return self.history(name)[-1]

    def publish(self, name: str, variants: dict[str, Weights], card: Card) -> str:
        """Write a version (named by its content) unless it is there undamaged, then move `current` to it. Returns the
        version.
        """
        require(
            name != "" and all(ch.isalnum() or ch in "-_" for ch in name),
            f"gallery name {name!r} may hold letters, digits, - and _ only",
        )
        require(set(variants) == set(VARIANTS), f"a gallery version holds {', '.join(VARIANTS)}")
        files = {variant: _bytes(weights) for variant, weights in variants.items()}
        version = digest({**card, "of": name, "sha256": _sums(files)})
        folder, whole = (
            join(self.root, name, version),
            _vouched(files, {**card, "name": name, "version": version}),
        )
        if not _holds(folder, whole):
            _commit(folder, whole)
        try:
            history = self.history(name)
        except (
            BadInput
        ):  # the first of its name, or `current` is damaged and promoting again is what mends it
            history = []
        if not history or history[-1] != version:
            self._point(name, [*history, version])
        return version

    def rollback(self, name: str) -> str:
        """Move `current` back to the version before; returns it. Raises `BadInput` where there is none."""
        history = self.history(name)
        require(
            len(history) > 1, f"{name!r} has no version before {history[-1]}; promote another first"
        )
        self._point(name, history[:-1])
        return history[-2]

    def _point(self, name: str, history: list[str]) -> None:
        write_whole(join(self.root, name, "current"), json.dumps({"history": history}).encode())

    def card(self, name: str, version: str | None = None) -> Card:
        return _card(join(self.root, name, version or self.current(name)))

    def load(self, name: str, version: str, variant: str) -> Weights:
        """The verified weights of one variant."""
        require(variant in VARIANTS, f"unknown variant {variant!r}; known: {', '.join(VARIANTS)}")
        folder = join(self.root, name, version)
        return _weights(folder, variant, _card(folder))
