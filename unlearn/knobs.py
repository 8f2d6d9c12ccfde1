"""Making one of a registry's kinds (a method, an attack) from knobs that somebody wrote down."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar

from unlearn.errors import lookup, require, unknown_keys

Kind = TypeVar("Kind")


def make(what: str, kinds: Mapping[str, type[Kind]], name: str, knobs: Mapping[str, Any]) -> Kind:
    """The `what` called `name`, a dataclass whose fields are its knobs. An unknown knob or one of a wrong type is
    refused by name, one out of range by the dataclass itself."""
    kind = lookup(what, name, dict(kinds))
    types = {field.name: field.type for field in fields(kind)}  # type: ignore[arg-type]
    unknown_keys(f"the knobs of {name}", knobs, types)
    return kind(**{key: typed(f"{name}: {key}", value, types[key]) for key, value in knobs.items()})


def typed(where: str, value: Any, kind: Any) -> Any:
    """`value`, if it is a `kind`; whole floats pass as integers, integers as floats, nothing else is bent."""
    hint = (
        " (YAML wants 1.0e-3)" if isinstance(value, str) and "e" in value else ""
    )  # it reads 1e-3 as text
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if kind is float:
        require(number, f"{where} must be a number, not {value!r}{hint}")
        return float(value)
    if kind is int:
        require(
            number and float(value).is_integer(),
            f"{where} must be a whole number, not {value!r}{hint}",
        )
        return int(value)
    require(isinstance(value, kind), f"{where} must be a {kind.__name__}, not {value!r}")
    return value
