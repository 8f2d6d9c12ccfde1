"""Build a method or an attack by name, from knobs that a user wrote down; say which of them count
in an id."""

from collections.abc import Mapping
from dataclasses import Field, field, fields, is_dataclass
from typing import Any, TypeVar

from unlearn.errors import lookup, require, unknown_keys

Kind = TypeVar("Kind")
LATER = "later"  # metadata of a field that was added after ids had been written


def later(default: Any) -> Any:
    """Return a dataclass field that was added after ids had been written.

    At its default, which is what the code did before, it does not count in an id, so existing rows
    and artifacts are found again.
    """
    return field(default=default, metadata={LATER: True})


def is_later(knob: "Field[Any]") -> bool:
    """Tell whether a dataclass field was made by `later`."""
    return bool(knob.metadata.get(LATER, False))


def counted(record: Any) -> dict[str, Any]:
    """Return what counts in the id of a dataclass: `asdict` without `later` fields at default."""
    found: dict[str, Any] = {}
    for knob in fields(record):
        value = getattr(record, knob.name)
        if is_later(knob) and value == knob.default:
            continue
        found[knob.name] = counted(value) if is_dataclass(value) else value
    return found


def make(what: str, kinds: Mapping[str, type[Kind]], name: str, knobs: Mapping[str, Any]) -> Kind:
    """Return an instance of the dataclass `kinds[name]`, whose fields are its knobs.

    `what` names the registry in errors ("method", "attack"). Raises `BadInput` for an unknown name
    or knob and for a value of a wrong type; the dataclass refuses values out of range.
    """
    kind = lookup(what, name, dict(kinds))
    types = {field.name: field.type for field in fields(kind)}  # type: ignore[arg-type]
    unknown_keys(f"the knobs of {name}", knobs, types)
    values = {key: typed(f"{name}: {key}", value, types[key]) for key, value in knobs.items()}
    return kind(**values)


def typed(where: str, value: Any, kind: Any) -> Any:
    """Return `value` as a `kind`; raise `BadInput`, which begins with `where`, if it is not one.

    A whole float passes as an integer and an integer as a float; nothing else is converted.
    """
    if kind is float:
        require(_is_number(value), f"{where} must be a number, not {value!r}{_hint(value)}")
        return float(value)
    if kind is int:
        whole = _is_number(value) and float(value).is_integer()
        require(whole, f"{where} must be a whole number, not {value!r}{_hint(value)}")
        return int(value)
    require(isinstance(value, kind), f"{where} must be a {kind.__name__}, not {value!r}")
    return value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _hint(value: Any) -> str:
    """How to write a number that YAML read as text, such as 1e-3; empty for other values."""
    return " (YAML wants 1.0e-3)" if isinstance(value, str) and "e" in value else ""
