"""Read the models of the gallery, anew for every request: a promotion is served at once."""

import json
import os
from dataclasses import dataclass, field
from typing import Any

from unlearn.cards import Card
from unlearn.errors import BadInput, require
from unlearn.gallery import VARIANTS, Gallery
from unlearn.models import check_builder, task_of
from unlearn.splits import check_forget

# What reading a damaged or foreign entry can raise.
DAMAGE = (BadInput, OSError, LookupError, TypeError, ValueError, RecursionError)


class UnknownModel(LookupError):
    """No model has that name. The message lists the known names."""


class Unservable(RuntimeError):
    """A gallery entry exists but is damaged or foreign. The message is one line and names it."""


@dataclass(frozen=True)
class ModelKey:
    """One variant of one version of a model: all that loading needs, hashable for a cache.

    name: the model's name in the gallery.
    version: the promoted version.
    variant: `amnesiac`, `original` or `oracle`.
    sha256: checksum of the weights file.
    model: the architecture, a registered name or `package.module:builder`.
    shape: (channels, height, width) of an image.
    classes: number of classes.
    options: the builder's options, as JSON.
    """

    name: str
    version: str
    variant: str
    sha256: str
    model: str
    shape: tuple[int, int, int]
    classes: int
    options: str = "{}"


@dataclass(frozen=True)
class Entry:
    """A promoted model with its card, checked. Raises `BadInput`.

    name: the model's name in the gallery.
    version: the promoted version.
    history: promoted versions, oldest first; the last one is current.
    card: what the version's `card.json` holds.
    builders: the user's own builders (`package.module:builder`) that may be called.
    """

    name: str
    version: str
    history: tuple[str, ...]
    card: Card
    builders: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        card = self.card
        model = str(card.get("model"))
        check_builder(model, self.builders, "serve")
        _check_types(card)
        task = task_of(model)
        require(
            card.get("task") == task,
            f"its card says task {card.get('task')!r}, but {model!r} is a {task}",
        )
        if card["forget"] or task == "generator" or not card.get("subset"):
            check_forget(card["forget"], card["classes"])
        _check_json(card)

    @property
    def shape(self) -> tuple[int, int, int]:
        channels, height, width = self.card["shape"]
        return channels, height, width

    def key(self, variant: str) -> ModelKey:
        """Return the key of one variant of this version."""
        card = self.card
        return ModelKey(
            name=self.name,
            version=self.version,
            variant=variant,
            sha256=card["sha256"][variant],
            model=card["model"],
            shape=self.shape,
            classes=card["classes"],
            options=json.dumps(card.get("options", {})),
        )

    def public(self) -> Card:
        """Return the card as clients see it, with the promoted versions, oldest first."""
        versions = list(self.history)
        return {**self.card, "name": self.name, "version": self.version, "versions": versions}


def _check_types(card: Card) -> None:
    """Refuse a card whose keys have other types than requests rely on."""
    options, shape, classes = card.get("options", {}), card.get("shape"), card.get("classes")
    forget, checksums = card.get("forget"), card.get("sha256")
    require(isinstance(options, dict), f"its card's options must be a mapping, not {options!r}")
    require(
        _are_positive(shape, 3),
        f"its card's shape must be [channels, height, width], not {shape!r}",
    )
    require(
        _are_positive([classes], 1),
        f"its card's classes must be a whole number of at least 1, not {classes!r}",
    )
    require(_are_whole(forget), f"its card's forget must be a list of classes, not {forget!r}")
    subset = card.get("subset", "")
    require(isinstance(subset, str), f"its card's subset must be text, not {subset!r}")
    require(
        isinstance(checksums, dict) and set(checksums) >= set(VARIANTS),
        f"its card's sha256 must hold a checksum of {', '.join(VARIANTS)}",
    )


def _check_json(card: Card) -> None:
    """Raise `ValueError` for a card that JSON cannot hold: NaN, or half a surrogate pair."""
    text = json.dumps(card, allow_nan=False, ensure_ascii=False)
    text.encode()


def _are_whole(values: Any) -> bool:
    """Tell whether `values` is a list of whole numbers; `True` is none."""
    if not isinstance(values, list):
        return False
    return all(isinstance(value, int) and not isinstance(value, bool) for value in values)


def _are_positive(values: Any, length: int) -> bool:
    """Tell whether `values` is a list of `length` whole numbers above 0."""
    return _are_whole(values) and len(values) == length and min(values) > 0


_Stamp = tuple[int, int, int]  # inode, size, and time of the last change in nanoseconds
_Files = tuple[_Stamp, _Stamp]  # of a model's `current` and of its version's card


@dataclass(frozen=True)
class _Known:
    """An entry, and the files that it was read from.

    files: identifies their content.
    entry: what they held.
    """

    files: _Files
    entry: Entry


def _identify(status: os.stat_result) -> _Stamp:
    return status.st_ino, status.st_size, status.st_mtime_ns


@dataclass(frozen=True)
class Catalog:
    """The models of one gallery.

    gallery: where they lie.
    builders: the user's own builders that may be called. A card names code to run, so the user who
        starts the service says which code may run.
    """

    gallery: Gallery
    builders: tuple[str, ...] = ()
    _known: dict[str, "_Known"] = field(default_factory=dict, init=False, repr=False, compare=False)

    def known(self, name: str) -> Entry | None:
        """Return what `entry` returned last, if the files that it read are still the same.

        Costs two `stat`. Always None for a gallery that is no local folder.
        """
        known = self._known.get(name)
        if known is None or known.files != self._files(name, known.entry.version):
            return None
        return known.entry

    def _files(self, name: str, version: str) -> "_Files | None":
        """Identify the content of the files that an entry is read from; None if there are none."""
        folder = os.path.join(self.gallery.root, name)
        try:
            pointer = os.stat(os.path.join(folder, "current"))
            card = os.stat(os.path.join(folder, version, "card.json"))
        except OSError:
            return None
        return _identify(pointer), _identify(card)

    def entry(self, name: str, version: str | None = None) -> Entry:
        """Return the model `name` at a promoted version. Raises `UnknownModel`, `Unservable`.

        version: None for the current one
        """
        if not _is_name(name):
            raise UnknownModel(self._unknown(name))
        try:
            return self._read(name, version)
        except UnknownModel:
            raise
        except DAMAGE as error:
            if name not in self.names():
                raise UnknownModel(self._unknown(name)) from error
            raise Unservable(refusal(self.gallery, name, error)) from error

    def cards(self) -> list[Card]:
        """Return every model's card; a damaged model has its `name` and an `error` instead."""
        return [self._card(name) for name in self.names()]

    def _card(self, name: str) -> Card:
        try:
            return self.entry(name).public()
        except (UnknownModel, Unservable) as error:
            return {"name": name, "error": str(error)}

    def _read(self, name: str, version: str | None) -> Entry:
        history = self.gallery.history(name)
        named = bool(history) and all(_is_name(each) for each in history)
        require(named, "its `current` file must name a version")
        wanted = version or history[-1]
        if wanted not in history:
            known = ", ".join(history)
            raise UnknownModel(f"no version {wanted[:80]!r} of model {name!r}; promoted: {known}")
        files = self._files(name, wanted)  # before the card is read: it may change meanwhile
        card = self.gallery.card(name, wanted)
        entry = Entry(name, wanted, tuple(history), card, self.builders)
        if files is not None and wanted == history[-1]:
            self._known[name] = _Known(files, entry)
        return entry

    def names(self) -> list[str]:
        """Return the names of all models, damaged ones too. Raises `Unservable`."""
        try:
            return self.gallery.names()
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise Unservable(f"the gallery cannot be read ({reason})") from error

    def _unknown(self, name: str) -> str:
        known = ", ".join(self.names()) or "none, the gallery is empty"
        return f"no model {name[:80]!r}; known: {known}"


def _is_name(name: object) -> bool:
    """Tell whether a model or version can have this name: no path that leads out of the gallery."""
    if not isinstance(name, str) or name == "":
        return False
    return all(character.isalnum() or character in "-_" for character in name)


def refusal(gallery: Gallery, name: str, error: Exception) -> str:
    """Say in one line why `name` cannot be served, without saying where the gallery lies."""
    folder = gallery.root.rstrip("/") + "/"
    reason = " ".join(str(error).split()).replace(folder, "")
    return f"model {name!r} cannot be served: {reason[:400]}; promote it again or roll it back"
