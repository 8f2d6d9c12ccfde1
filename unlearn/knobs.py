"""Making one of a registry's kinds (a method, an attack) from knobs that somebody wrote down."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar

from unlearn.errors import known, require, unknown_keys

Kind = TypeVar("Kind")


def make(what: str, kinds: Mapping[str, type[Kind]], name: str, knobs: Mapping[str, Any]) -> Kind:
    """The `what` called `name`, a dataclass whose fields are its knobs. An unknown knob or one of a wrong type is
    refused by name, one out of range by the dataclass itself."""
    kind = known(what, name, dict(kinds))
    types = {field.name: field.type for field in fields(kind)}  # type: ignore[arg-type]
    unknown_keys(f"the knobs of {name}", knobs, types)
    return kind(**{key: _typed(f"{name}: {key}", value, types[key]) for key, value in knobs.items()})


def _typed(where: str, value: Any, kind: Any) -> Any:
    """`value` as the field's type; whole floats pass as integers, nothing else is bent."""
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind is int and isinstance(value, float) and value.is_integer():
        return int(value)
    require(
        isinstance(value, kind) and not (kind is not bool and isinstance(value, bool)),
        f"{where} must be a {kind.__name__}, not {value!r}",
    )
    return value
