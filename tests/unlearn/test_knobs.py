"""Knobs from a spec file: names, types, and the numbers that YAML reads as text."""

from dataclasses import dataclass
from typing import Any

import pytest

from unlearn.errors import BadInput
from unlearn.knobs import counted, later, make, typed


@dataclass(frozen=True)
class Brush:
    """A kind with a knob of every type."""

    width: float = 1.0
    hairs: int = 3
    wet: bool = False
    colour: str = "red"


KINDS: dict[str, type[Brush]] = {"brush": Brush}


def test_knobs_are_converted_to_their_types() -> None:
    made = make("tool", KINDS, "brush", {"width": 2, "hairs": 4.0, "wet": True})
    assert made == Brush(2.0, 4, True, "red")
    assert type(made.width) is float
    assert type(made.hairs) is int


def test_unknown_names_are_refused_with_the_choices() -> None:
    with pytest.raises(BadInput, match="unknown tool 'pen'; known: brush"):
        make("tool", KINDS, "pen", {})
    with pytest.raises(
        BadInput, match="unknown key 'length' in the knobs of brush; allowed: width"
    ):
        make("tool", KINDS, "brush", {"length": 1})


WRONG: list[tuple[Any, type, str]] = [
    ("1e-3", float, r"must be a number, not '1e-3' \(YAML wants 1.0e-3\)"),
    ("fast", float, "must be a number, not 'fast'$"),
    (True, float, "must be a number, not True$"),
    (2.5, int, "must be a whole number, not 2.5$"),
    (False, int, "must be a whole number, not False$"),
    ("1e3", int, r"must be a whole number, not '1e3' \(YAML wants 1.0e\+3\)"),
    ("1E-3", float, r"must be a number, not '1E-3' \(YAML wants 1.0e-3\)"),
    ("08", int, r"must be a whole number, not '08' \(YAML wants 8\)"),
    ("inf", float, "must be a number, not 'inf'$"),
    (2**70, int, r"must be below 2\^63, not a number of 71 bits"),
    (1.0e30, int, r"must be below 2\^63, not a number of 100 bits"),
    (10**400, float, r"must be below 2\^1023, not a number of 1329 bits"),
    (1, bool, "must be a bool, not 1$"),
    (1, str, "must be a str, not 1; write it in quotes$"),
    ([1], str, r"must be a str, not \[1\]$"),
]


@pytest.mark.parametrize(("value", "kind", "message"), WRONG)
def test_a_wrong_type_is_refused_with_its_place(value: Any, kind: type, message: str) -> None:
    with pytest.raises(BadInput, match=f"brush: knob {message}"):
        typed("brush: knob", value, kind)


@dataclass(frozen=True)
class Painting:
    """A record that holds another, with fields that came later."""

    brush: Brush
    title: str = "untitled"
    framed: bool = later(False)
    glazed: float = later(0.0)


def test_a_later_field_counts_once_it_leaves_its_default() -> None:
    brush = {"width": 1.0, "hairs": 3, "wet": False, "colour": "red"}
    assert counted(Painting(Brush())) == {"brush": brush, "title": "untitled"}
    found = counted(Painting(Brush(), framed=True))
    assert found == {"brush": brush, "title": "untitled", "framed": True}
