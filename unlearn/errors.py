"""The one error that means: the input is wrong, and here is what is allowed."""

import traceback
from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


class BadInput(ValueError):
    """Wrong input. The message is one line: the rule, the value that broke it, the next action."""


class NotFinite(ArithmeticError):
    """A loss or a weight became infinite or NaN; the message names the term, the step and the next action."""


def lookup(what: str, name: str, choices: dict[str, T]) -> T:
    """Look `name` up in a registry; an unknown name lists the known ones."""
    if name not in choices:
        raise BadInput(f"unknown {what} {name!r}; known: {', '.join(choices)}")
    return choices[name]


def require(rule: bool, message: str) -> None:
    """Raise `BadInput(message)` unless the rule holds."""
    if not rule:
        raise BadInput(message)


def unknown_keys(where: str, given: Iterable[str], allowed: Iterable[str]) -> None:
    """Refuse keys that nothing reads, naming the place and the choices."""
    allowed = list(allowed)
    for key in given:
        require(key in allowed, f"unknown key {key!r} in {where}; allowed: {', '.join(allowed)}")


def one_line(error: Exception) -> str:
    """What was raised and where, as one line for a row."""
    where = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({Path(where.filename).name}:{where.lineno})"
