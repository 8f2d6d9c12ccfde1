"""Check values of a spec file by their type, and convert them; errors name the place."""

import math
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from unlearn.errors import require, unknown_keys
from unlearn.knobs import FLOAT_BITS, check_bits, is_number, typed


def check_numbers(where: str, value: Any) -> None:
    """Refuse at any depth an infinity, NaN, or an integer beyond every float.

    Ids are hashes of JSON, which has neither infinity nor NaN.
    """
    if isinstance(value, dict):
        for key, inner in value.items():
            check_numbers(f"{where}.{key}", inner)
    elif isinstance(value, list):
        for inner in value:
            check_numbers(where, inner)
    elif isinstance(value, float):
        require(math.isfinite(value), f"{where} must be a finite number, not {value}")
    elif isinstance(value, int):
        check_bits(where, value, FLOAT_BITS)


def section_of(document: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """Return the section `key`; an empty one where it is left out."""
    value = document.get(key)
    require(
        value is None or isinstance(value, dict),
        f"{key} must hold `key: value` lines, not {value!r}",
    )
    return value or {}


def as_list(where: str, value: Any) -> list[Any]:
    """Return a list, or a single value as a list of one; refuse an empty one and repetitions."""
    items = value if isinstance(value, list) else [value]
    require(len(items) > 0 and items != [None], f"empty axis {where!r}; give at least one value")
    seen = set()
    for item in items:
        same = float(item) if is_number(item) and abs(item) < 2**53 else repr(item)  # 1 and 1.0
        require(same not in seen, f"axis {where!r} names a value twice: {item!r}; keep one")
        seen.add(same)
    return items


def as_texts(where: str, value: Any) -> tuple[str, ...]:
    """Return a list of texts, or a single text, as a tuple."""
    return tuple(typed(where, item, str) for item in as_list(where, value))


def as_whole(where: str, value: Any) -> int:
    """Return a whole number; refuse a float even where it is whole."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    require(whole, f"{where} must be whole numbers, not {value!r}")
    return int(typed(where, value, int))


def as_axis(where: str, knob: str, values: Any) -> tuple[Any, ...]:
    """Return the values of a knob's axis in the section `where`."""
    return tuple(as_list(f"{where}.{knob}", values))


def as_record(where: str, kind: type, values: Mapping[str, Any]) -> Any:
    """Return a frozen record from a section of the spec."""
    return kind(**typed_fields(where, kind, values))


def typed_fields(where: str, kind: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """Convert `values` to the types of the record's fields; whole floats become integers."""
    types = {f.name: f.type for f in fields(kind)}
    unknown_keys(where, values, types)
    converted = {}
    for key, value in values.items():
        converted[key] = _as(f"{where}.{key}", value, types[key])
    return converted


def _as(where: str, value: Any, kind: Any) -> Any:
    if kind == tuple[str, ...]:
        return () if value in (None, []) else as_texts(where, value)
    return typed(where, value, kind)
