"""Store the weights that cells share on disk, by a key of all that determines them.

    <store>/<kind>/<key>/{weights.safetensors, card.json}

An artifact is a folder with a card (`unlearn/cards.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from unlearn.cards import Card, read_card, read_weights, serialise, with_card, write_files
from unlearn.errors import require
from unlearn.files import exists, folders, join

if TYPE_CHECKING:  # torch takes a second to import; what only moves a pointer needs none
    from unlearn.models import Weights


@dataclass(frozen=True)
class Store:
    """Artifacts by kind and key.

    The key hashes everything that determines the weights, so an artifact is never replaced.

    root: local path or fsspec URL
    """

    root: str

    def folder(self, kind: str, key: str) -> str:
        """Return the path of the artifact's folder."""
        return join(self.root, kind, key)

    def has(self, kind: str, key: str) -> bool:
        """Tell whether the artifact is complete, that is, whether its card is written."""
        return exists(join(self.folder(kind, key), "card.json"))

    def keys(self, kind: str) -> set[str]:
        """Return the keys of the kind that have a folder, complete or not, by one listing."""
        return set(folders(join(self.root, kind)))

    def save(self, kind: str, key: str, weights: Weights, card: Card) -> None:
        """Write the weights, then the card."""
        full = {**card, "kind": kind, "key": key}
        files = with_card({"weights": serialise(weights)}, full)
        write_files(self.folder(kind, key), files)

    def card(self, kind: str, key: str) -> Card:
        """Return the artifact's card. Raises `BadInput` where it is missing, damaged or foreign."""
        return read_card(self.folder(kind, key))

    def load(self, kind: str, key: str) -> Weights:
        """Return the verified weights. Raises `BadInput` for a missing, damaged or foreign file."""
        folder = self.folder(kind, key)
        card = read_card(folder)
        named = (card.get("kind"), card.get("key"))
        require(
            named == (kind, key),
            f"{folder} holds another artifact ({named[0]}/{named[1]}); delete it",
        )
        return read_weights(folder, "weights", card)
