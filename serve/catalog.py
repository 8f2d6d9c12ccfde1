"""What the gallery offers at this moment, read anew for every request: a promotion or rollback is served at once."""

import json
from dataclasses import dataclass
from typing import Any

from unlearn.artifacts import VARIANTS, Card, Gallery
from unlearn.errors import BadInput, require
from unlearn.models import check_builder, task_of
from unlearn.splits import check_forget


class UnknownModel(LookupError):
    """No model of that name; the message names the known ones."""


class Unservable(RuntimeError):
    """A gallery entry that is there but damaged or foreign; the message is one line and names the model."""


@dataclass(frozen=True)
class Pick:
    """One variant of one version: all that is needed to load it, and a key under which it may be kept."""

    name: str
    version: str
    variant: str
    sha256: str
    model: str
    shape: tuple[int, int, int]
    classes: int
    options: str = "{}"  # of the model's builder, as JSON


@dataclass(frozen=True)
class Entry:
    """A model as promoted: its current version, the versions it was before, and its card. Raises `BadInput`."""

    name: str
    history: tuple[str, ...]
    card: Card
    builders: tuple[str, ...] = ()  # `package.module:builder`s that may be called

    def __post_init__(self) -> None:
        card = self.card
        check_builder(str(card.get("model")), self.builders, "serve")
        require(
            isinstance(card.get("options", {}), dict), "its card's options are no keys and values"
        )
        task = task_of(str(card.get("model")))
        require(
            card.get("task") == task,
            f"its card calls {card['model']!r}, a {task}, a {card.get('task')}",
        )
        require(
            _positive(card.get("shape"), 3), "its card names no shape [channels, height, width]"
        )
        require(_positive([card.get("classes")], 1), "its card names no number of classes")
        require(_whole(card.get("forget")), "its card names no forget set")
        check_forget(card["forget"], card["classes"])
        sums = card.get("sha256")
        require(
            isinstance(sums, dict) and set(sums) >= set(VARIANTS), "its card vouches for no weights"
        )
        json.dumps(
            card, allow_nan=False, ensure_ascii=False
        ).encode()  # what cannot be answered as JSON is foreign

    @property
    def version(self) -> str:
        return self.history[-1]

    @property
    def shape(self) -> tuple[int, int, int]:
        channels, height, width = self.card["shape"]
        return channels, height, width

    def pick(self, variant: str) -> Pick:
        """The key of one variant of the current version."""
        card = self.card
        digest, model, options = (
            card["sha256"][variant],
            card["model"],
            json.dumps(card.get("options", {})),
        )
        return Pick(
            self.name, self.version, variant, digest, model, self.shape, card["classes"], options
        )

    def public(self) -> Card:
        """The card as it is shown, with the promoted versions, oldest first."""
        return {
            **self.card,
            "name": self.name,
            "version": self.version,
            "versions": list(self.history),
        }


def _whole(values: Any) -> bool:
    return isinstance(values, list) and all(
        isinstance(v, int) and not isinstance(v, bool) for v in values
    )


def _positive(values: Any, length: int) -> bool:
    return _whole(values) and len(values) == length and all(v > 0 for v in values)


@dataclass(frozen=True)
class Catalog:
    """The entries of one gallery. `builders`: the user's own that may be called, since that runs their code."""

    gallery: Gallery
    builders: tuple[str, ...] = ()

    def entry(self, name: str) -> Entry:
        """The model `name` at its current version. Raises `UnknownModel` or `Unservable`."""
        if not _is_name(name):
            raise UnknownModel(self._unknown(name))
        try:
            return self._read(name)
        except (BadInput, OSError, LookupError, TypeError, ValueError, RecursionError) as error:
            if name not in self._names():
                raise UnknownModel(self._unknown(name)) from error
            raise Unservable(refusal(self.gallery, name, error)) from error

    def cards(self) -> list[Card]:
        """The card of every model; a damaged one is listed by name with its `error`, and hides no other."""
        return [self._card(name) for name in self._names()]

    def _card(self, name: str) -> Card:
        try:
            return self.entry(name).public()
        except (UnknownModel, Unservable) as error:
            return {"name": name, "error": str(error)}

    def _read(self, name: str) -> Entry:
        history = self.gallery.history(name)
        require(
            bool(history) and all(_is_name(version) for version in history),
            "its `current` names no version",
        )
        return Entry(name, tuple(history), self.gallery.card(name, history[-1]), self.builders)

    def _names(self) -> list[str]:
        try:
            return self.gallery.names()
        except OSError as error:
            raise Unservable(
                f"the gallery cannot be read ({error.strerror or type(error).__name__})"
            ) from error

    def _unknown(self, name: str) -> str:
        return f"no model {name[:80]!r}; known: {', '.join(self._names()) or 'none, the gallery is empty'}"


def _is_name(name: object) -> bool:
    """Whether `name` could have been published: nothing that leads out of the gallery."""
    return isinstance(name, str) and name != "" and all(ch.isalnum() or ch in "-_" for ch in name)


def refusal(gallery: Gallery, name: str, error: Exception) -> str:
    """Why `name` cannot be served, in one line that tells nothing of where the gallery lies."""
    reason = " ".join(str(error).split()).replace(gallery.root.rstrip("/") + "/", "")
    return f"model {name!r} cannot be served: {reason[:400]}; promote it again or roll it back"
