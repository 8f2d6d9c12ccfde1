"""Build a method or an attack by name, from knobs that a user wrote down; say which of them count
in an id."""

import math
from collections.abc import Mapping
from dataclasses import Field, field, fields, is_dataclass
from functools import cache
from typing import Any, TypeVar

from unlearn.errors import lookup, require, unknown_keys

Kind = TypeVar("Kind")
INT_BITS = 63  # of a positive integer in a column of Parquet
FLOAT_BITS = 1023  # of the largest integer that a float holds
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
    for name, late, default in _knobs_of(record.__class__):
        value = getattr(record, name)
        if late and value == default:
            continue
        found[name] = counted(value) if is_dataclass(value) else value
    return found


@cache
def _knobs_of(kind: Any) -> tuple[tuple[str, bool, Any], ...]:
    """Return of each field of a dataclass: name, whether it is `later`, default."""
    return tuple((knob.name, is_later(knob), knob.default) for knob in fields(kind))


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

    A whole float passes as an integer and an integer as a float; nothing else is converted. An
    integer must fit the 64 bits of a row's column.
    """
    if kind is float:
        check_bits(where, value, FLOAT_BITS)
        require(is_number(value), f"{where} must be a number, not {value!r}{hint(value)}")
        return float(value)
    if kind is int:
        check_bits(where, value, INT_BITS)
        whole = is_number(value) and float(value).is_integer()
        require(whole, f"{where} must be a whole number, not {value!r}{hint(value)}")
        check_bits(where, int(value), INT_BITS)
        return int(value)
    quotes = "; write it in quotes" if kind is str and not isinstance(value, list | dict) else ""
    require(isinstance(value, kind), f"{where} must be a {kind.__name__}, not {value!r}{quotes}")
    return value


def check_bits(where: str, value: Any, bits: int) -> None:
    """Refuse an integer that is too large. Its digits may be too many to print."""
    if isinstance(value, int):
        found = value.bit_length()
        require(found <= bits, f"{where} must be below 2^{bits}, not a number of {found} bits")


def is_number(value: Any) -> bool:
    """Whether the value is an integer or a float; true and false are neither."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def hint(value: Any) -> str:
    """Say how YAML writes the number in a text such as 1e-3; "" for other values."""
    number = yaml_number(value) if isinstance(value, str) else None
    return f" (YAML wants {number})" if number else ""


def yaml_number(text: str) -> str | None:
    """Return the number in a text as YAML 1.1 writes it: 1e-3 as 1.0e-3, 08 as 8.

    None where the text holds no number.
    """
    try:
        value = float(text)
    except ValueError:
        return None
    mantissa, e, exponent = text.lower().partition("e")
    if e:
        return f"{float(mantissa)!r}e{int(exponent):+d}"
    if not math.isfinite(value):  # the words `inf` and `nan`
        return None
    return str(int(value)) if value.is_integer() and "." not in text else repr(value)
