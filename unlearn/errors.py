"""The errors of the science, and the checks that raise them."""

import traceback
from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


class BadInput(ValueError):
    """Wrong input. The message is one line: the rule, the value that broke it, the next action."""


class CannotWrite(BadInput):
    """A place that cannot be written: full, read-only or gone. No later write will do better."""


class OutOfReach(CannotWrite, OSError):
    """A URL whose service does not answer, or refuses us; its driver raises errors of its own."""


class NotFinite(ArithmeticError):
    """A loss or a weight is infinite or NaN. The message names it and the next action."""


def lookup(what: str, name: str, choices: dict[str, T]) -> T:
    """Return the entry `name` of a registry. Raises `BadInput` that lists the known names."""
    if name not in choices:
        known = ", ".join(choices)
        raise BadInput(f"unknown {what} {name!r}; known: {known}")
    return choices[name]


def require(rule: bool, message: str) -> None:
    """Raise `BadInput(message)` unless the rule holds."""
    if not rule:
        raise BadInput(message)


def unknown_keys(where: str, given: Iterable[str], allowed: Iterable[str]) -> None:
    """Raise `BadInput` for the first given key that is not allowed; name the place and the choices.

    where: what the keys belong to, for the message
    """
    names = list(allowed)
    choices = ", ".join(names)
    for key in given:
        require(key in names, f"unknown key {key!r} in {where}; allowed: {choices}")


def one_line(error: Exception) -> str:
    """Describe an error and the line that raised it in one line, for a row of results."""
    origin = traceback.extract_tb(error.__traceback__)[-1]
    file = Path(origin.filename).name
    return f"{type(error).__name__}: {error} ({file}:{origin.lineno})"
