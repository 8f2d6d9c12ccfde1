"""Describe the fields of a dataclass as keys of a spec: type, default, range and meaning, as text.

Types and defaults come from the dataclass, ranges from its own checks (each key is tried with
values that no key allows), meanings from the lines `name: meaning` of its docstring.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, dataclass, fields
from functools import partial
from typing import Any

from unlearn.docstrings import UNSAID, meanings
from unlearn.errors import BadInput

WRONG_NUMBERS = (-(10**4), 10**4, 1.5)
WRONG_TEXT = "?"
KINDS = {bool: "true or false", int: "whole number", float: "number", str: "text"}


@dataclass(frozen=True)
class Key:
    """One line of a table: a key of the spec, as text."""

    name: str
    type: str
    default: str
    range: str
    meaning: str


def keys_of(kind: type, prefix: str = "", given: Mapping[str, Any] | None = None) -> list[Key]:
    """A line for every field of a dataclass; `given` holds the fields that have no default."""
    told = meanings(kind)
    required = dict(given or {})
    found = []
    for field in fields(kind):
        default = _default(field)
        allowed = allowed_values(partial(kind, **required), field)
        meaning = told.get(field.name, UNSAID)
        found.append(Key(prefix + field.name, _type(field), default, allowed, meaning))
    return found


def allowed_values(make: Callable[..., Any], field: Field[Any]) -> str:
    """The range of a field, in the words with which its dataclass refuses wrong values; else ""."""
    if field.type is bool:
        return ""
    wrong = (WRONG_TEXT,) if field.type is str else WRONG_NUMBERS
    rules = []
    for value in wrong:
        rule = _refusal(make, field.name, value)
        if rule and rule not in rules:
            rules.append(rule)
    return "; ".join(rules)


def _refusal(make: Callable[..., Any], name: str, value: Any) -> str:
    """What the dataclass says is allowed when it refuses `name=value`; "" where it does not."""
    try:
        make(**{name: value})
    except BadInput as error:
        return rule_in(str(error), name)
    except (TypeError, ValueError):  # a list or a JSON text, which this value is not
        return ""
    return ""


def rule_in(message: str, name: str) -> str:
    """The rule in a message: `lr must be above 0, not -1`, `unknown norms '?'; known: a, b`."""
    known = message.partition("known: ")[2]
    if known:
        return known.partition(";")[0]
    rule = message.partition(", not ")[0]
    after = re.split(rf"\b{re.escape(name)}\b", rule, maxsplit=1)[-1].strip()
    return after.removeprefix("must ").removeprefix("be ").removeprefix("lie ").strip()


def _type(field: Field[Any]) -> str:
    if field.type in KINDS:
        return KINDS[field.type]
    return "list of text" if field.type == tuple[str, ...] else "mapping"


def _default(field: Field[Any]) -> str:
    if field.default is MISSING:
        return "required"
    return f"`{as_yaml(field.default)}`"


def as_yaml(value: Any) -> str:
    """A value as a spec file writes it."""
    if isinstance(value, float):
        return f"{value:g}" if 1e-3 <= abs(value) < 1e6 or value == 0 else yaml_float(value)
    return json.dumps(value) if not isinstance(value, str) else value


def yaml_float(value: float) -> str:
    """A small or large number as YAML reads it, with a decimal point: 1.0e-4."""
    digits, _, power = f"{value:.6e}".partition("e")
    digits = digits.rstrip("0")
    zero = "0" if digits.endswith(".") else ""
    return f"{digits}{zero}e{int(power):+d}"  # YAML asks for the sign as well
