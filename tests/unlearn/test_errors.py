"""Checks and their messages: rule, value, next action, in one line."""

from pathlib import Path

import pytest

from unlearn.errors import BadInput, lookup, one_line, require, unknown_keys


def test_an_unknown_name_lists_the_known_ones() -> None:
    assert lookup("colour", "red", {"red": 1, "blue": 2}) == 1
    with pytest.raises(BadInput, match=r"^unknown colour 'green'; known: red, blue$"):
        lookup("colour", "green", {"red": 1, "blue": 2})


def test_a_broken_rule_raises_its_message() -> None:
    require(True, "never seen")
    with pytest.raises(BadInput, match=r"^steps must be at least 1, not 0$"):
        require(False, "steps must be at least 1, not 0")


def test_an_unknown_key_is_refused_with_its_place_and_the_choices() -> None:
    unknown_keys("a spec", ["seed"], ["seed", "name"])
    with pytest.raises(BadInput, match=r"^unknown key 'sed' in a spec; allowed: seed, name$"):
        unknown_keys("a spec", ["seed", "sed"], iter(["seed", "name"]))


def fail() -> None:
    raise ValueError("too large")


def test_one_line_names_the_line_that_raised() -> None:
    try:
        fail()
    except ValueError as error:
        line = one_line(error)
    number = fail.__code__.co_firstlineno + 1
    assert line == f"ValueError: too large ({Path(__file__).name}:{number})"
