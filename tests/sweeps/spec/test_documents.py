"""YAML is read as it looks, or refused in one line with the place."""

import math
import re
from typing import Any

import pytest

from sweeps.spec import documents
from sweeps.spec.documents import dump_documents, load_documents
from unlearn.errors import BadInput

LAUGHS = "a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol, lol]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 10)
)


def load(text: str) -> list[Any]:
    return load_documents(text, "the text")


def test_what_is_clear_is_read() -> None:
    text = "a: [1, -2, 0x10, 1_000, 0, 0.5, 1.0e-3, .5e+1]\nb: {c: yes, d: '007'}\n---\n- 1e-3x\n"
    first, second = load(text)
    assert first == {
        "a": [1, -2, 16, 1000, 0, 0.5, 0.001, 5.0],
        "b": {"c": True, "d": "007"},
    }
    assert second == ["1e-3x"]


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("0100", "YAML reads 0100 as 64; write 64, or '0100' in quotes for text"),
        ("-0100", "YAML reads -0100 as -64"),
        ("007", "YAML reads 007 as 7"),
        ("08", "YAML reads 08 as text; write 8, or '08' in quotes for text"),
        ("1:30", "YAML reads 1:30 as 90; write 90"),
        ("1:30.5", "YAML reads 1:30.5 as 90.5"),
        ("1e-3", "YAML reads 1e-3 as text; write 1.0e-3"),
        ("1E-3", "write 1.0e-3"),
        ("1e3", "write 1.0e+3"),
        ("2.5e3", "write 2.5e+3"),
        (".5e1", "write 0.5e+1"),
        ("-.5", "write -0.5"),
        ("2020-99-99", "cannot read '2020-99-99' as timestamp"),
        ("!!int many", "cannot read 'many' as int"),
        ("!!bool maybe", "cannot read 'maybe' as bool"),
        ("9" * 5000, "as int"),
        ("{x: 1, x: 2}", "the key 'x' stands twice; keep one"),
        ("{no: 1}", "the key False is not text; write it in quotes"),
        ("{[x]: 1}", "the key ['x'] is not text"),
        ("!!python/name:os.system x", "could not determine a constructor"),
        ("&x [*x]", "a value contains itself; write it out"),
        ("&x {y: {z: *x}}", "a value contains itself"),
    ],
)
def test_what_is_not_as_it_looks_is_refused_with_its_line(value: str, says: str) -> None:
    """Also inside a list: PyYAML's own hints reach only a value that stands alone."""
    for text in (f"first: 1\nkey: {value}\n", f"first: 1\nkey: [5, {value}]\n"):
        with pytest.raises(BadInput, match=r"the text is not YAML at line 2: ") as caught:
            load(text)
        assert says in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_merged_key_may_be_stated_again() -> None:
    [found] = load("a: &a {x: 1, y: 2}\nb: {<<: *a, x: 3}\n")
    assert found["b"] == {"x": 3, "y": 2}


def test_no_two_places_share_a_value() -> None:
    [found] = load("a: &a {x: [1]}\nb: *a\n")
    found["a"]["x"].append(2)
    assert found["b"] == {"x": [1]}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (LAUGHS, "at line 1: more than 1,000 keys and values"),
        ("[" * 500, "is nested too deeply"),
        ("a: 1\nb: [" + "1," * 1000 + "]", "at line 2: more than 1,000 keys and values"),
    ],
    ids=["billion laughs", "500 levels", "one long list"],
)
def test_a_text_that_would_take_minutes_is_refused(
    text: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(documents, "MAX_VALUES", 1000)  # 100,000 take seconds
    with pytest.raises(BadInput, match=says):
        load(text)


def test_a_text_that_is_written_is_read_as_the_same_values() -> None:
    """A job reads the spec that `submit` wrote: text in quotes must keep them."""
    values = ["007", "0100", "1:30", "1e-3", "-.5", "08", "no", "", "1.0e-5", "2020-01-01", "ñ"]
    numbers = [1e-05, 1e22, 0.1, -7, 2**62, True, None]
    document = {"texts": values, "numbers": numbers, "shared": [values, values]}
    assert load(dump_documents([document, document])) == [document, document]


def test_infinities_are_read_for_the_spec_to_refuse() -> None:
    [found] = load("[.inf, -.inf, .nan]")
    assert found[:2] == [math.inf, -math.inf]


def test_control_characters_are_refused() -> None:
    with pytest.raises(BadInput, match=re.escape("the text is not YAML: it holds characters")):
        load("a: \x07")
