"""Keep the promoted models that are served.

    <gallery>/<name>/<version>/{amnesiac,original,oracle}.safetensors + documents + card.json
    <gallery>/<name>/current

A version is a folder with a card (`unlearn/cards.py`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from unlearn.cards import (
    Card,
    checksums_of,
    has_files,
    read_card,
    read_verified,
    read_weights,
    serialise,
    with_card,
    write_files,
)
from unlearn.digests import digest
from unlearn.errors import BadInput, require
from unlearn.files import exists, folders, join, locate, reaching, read_whole, write_whole

if TYPE_CHECKING:  # torch takes a second to import; what only moves a pointer needs none
    from unlearn.models import Weights

VARIANTS = ("amnesiac", "original", "oracle")
DOCUMENT = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*\.(json|png)")  # names of documents


def _documents(folder: str, card: Card) -> dict[str, str]:
    """Return the SHA-256 of a version's documents, by file name. Raises `BadInput`."""
    documents = card.get("documents", {})
    require(
        isinstance(documents, dict),
        f"{folder}/card.json must map documents to their SHA-256; promote the model again",
    )
    return dict(documents)


def _check_document(name: str) -> None:
    """Refuse the name of a document that is no plain file name, or is the card's."""
    require(
        DOCUMENT.fullmatch(name) is not None and name != "card.json",
        f"a document is a .json or .png file beside the weights, not {name!r}; choose another name",
    )


@dataclass(frozen=True)
class Gallery:
    """Promoted models.

    The file `current` of a model lists its promoted versions, oldest first; the last is served.

    root: local path or fsspec URL
    """

    root: str

    def names(self) -> list[str]:
        """Return the models that have a current version, sorted."""
        return [name for name in folders(self.root) if exists(self._pointer(name))]

    def versions(self, name: str) -> list[str]:
        """Return every version on disk, sorted by name; promoted or rolled back."""
        return folders(join(self.root, name))

    def history(self, name: str) -> list[str]:
        """Return the promoted versions, oldest first; the last is served.

        Raises `BadInput` for an unknown model or a damaged `current`.
        """
        pointer = self._pointer(name)
        try:
            text = read_whole(pointer)
        except FileNotFoundError as error:
            known = ", ".join(self.names()) or "none"
            raise BadInput(
                f"no model {name!r} in the gallery {self.root}; known: {known}"
            ) from error
        try:
            history: list[str] = json.loads(text)["history"]
            return history
        except (ValueError, KeyError, TypeError) as error:
            raise BadInput(f"{pointer} is damaged; promote {name!r} again") from error

    def current(self, name: str) -> str:
        """Return the version that is served. Raises `BadInput` as `history` does."""
        return self.history(name)[-1]

    def publish(
        self,
        name: str,
        variants: dict[str, Weights],
        card: Card,
        documents: Mapping[str, bytes] | None = None,
    ) -> str:
        """Write a version, named by a hash of its content, and serve it; return the version.

        A version that is already on disk undamaged is not written again. Raises `BadInput` for a
        name with other characters than letters, digits, - and _, for other variants than
        `VARIANTS`, or for the name of a document that is no plain .json or .png file.

        documents: files that go with the models, by file name; `document` reads them
        """
        allowed = all(ch.isalnum() or ch in "-_" for ch in name)
        require(
            name != "" and allowed,
            f"gallery name {name!r} may hold letters, digits, - and _ only; choose another",
        )
        require(
            set(variants) == set(VARIANTS),
            f"a gallery version needs {', '.join(VARIANTS)}, not {', '.join(variants)}; give these",
        )
        weights_files = {variant: serialise(weights) for variant, weights in variants.items()}
        more = dict(documents or {})
        for document in more:
            _check_document(document)
        content = {**card, "documents": checksums_of(more)} if more else card
        version = digest({**content, "of": name, "sha256": checksums_of(weights_files)})
        folder = join(self.root, name, version)
        of_version = {**content, "name": name, "version": version}
        files = more | with_card(weights_files, of_version)
        if not has_files(folder, files):
            write_files(folder, files)
        self._serve(name, version)
        return version

    def _serve(self, name: str, version: str) -> None:
        """Append the version to the history, unless it is the last one already."""
        try:
            history = self.history(name)
        except BadInput:
            history = []  # the first version, or a damaged `current`, which a promotion repairs
        if not history or history[-1] != version:
            self._write_history(name, [*history, version])

    def rollback(self, name: str) -> str:
        """Serve the version before the current one; return it. Raises `BadInput` where none is."""
        history = self.history(name)
        require(
            len(history) > 1, f"{name!r} has no version before {history[-1]}; promote another first"
        )
        self._write_history(name, history[:-1])
        return history[-2]

    def _pointer(self, name: str) -> str:
        return join(self.root, name, "current")

    def _write_history(self, name: str, history: list[str]) -> None:
        write_whole(self._pointer(name), json.dumps({"history": history}).encode())

    def card(self, name: str, version: str | None = None) -> Card:
        """Return the card of a version, of the current one by default. Raises `BadInput`."""
        return read_card(join(self.root, name, version or self.current(name)))

    def load(self, name: str, version: str, variant: str) -> Weights:
        """Return the verified weights of one variant.

        Raises `BadInput` for an unknown variant and for a missing, damaged or foreign file.
        """
        require(variant in VARIANTS, f"unknown variant {variant!r}; known: {', '.join(VARIANTS)}")
        folder = join(self.root, name, version)
        return read_weights(folder, variant, read_card(folder))

    def document(self, name: str, version: str, document: str) -> bytes:
        """Return the verified bytes of a document.

        Raises `FileNotFoundError` where the version has none of that name, and `BadInput` for a
        missing or damaged file.
        """
        folder = join(self.root, name, version)
        expected = _documents(folder, read_card(folder)).get(document)
        if expected is None:
            raise FileNotFoundError(f"version {version} of {name!r} has no {document}")
        _check_document(document)
        return read_verified(folder, document, expected)

    def checksums(self, name: str, version: str) -> dict[str, str]:
        """Return the SHA-256 of every file of a version beside its card, by file name."""
        folder = join(self.root, name, version)
        card = read_card(folder)
        found = {f"{variant}.safetensors": card["sha256"].get(variant) for variant in VARIANTS}
        return found | _documents(folder, card)

    def check(self, name: str, version: str, file: str, expected: str) -> None:
        """Raise `BadInput` where a file of a version is missing or has another SHA-256."""
        read_verified(join(self.root, name, version), file, expected)

    def stamp(self, name: str, version: str, file: str) -> str:
        """Return text that changes when a file is replaced; "" where there is no such file.

        It says where the file lies, its size, and its time of change or its ETag.
        """
        place = join(self.root, name, version, file)
        fs, path = locate(place)
        fs.invalidate_cache()
        try:
            with reaching(place):
                info = fs.info(path)
        except FileNotFoundError:
            return ""
        changed = [info.get(key) for key in ("mtime", "LastModified", "last_modified", "ETag")]
        return f"{path} {info['size']} {changed}"
