"""Every knob of every method has a line of its own in the docstring of a class that declares it."""

import inspect
from dataclasses import fields

import pytest

from unlearn.methods import METHODS


def declaring(kind: type, knob: str) -> type:
    """The most derived class that declares the knob, with its default."""
    return next(owner for owner in kind.__mro__ if knob in inspect.get_annotations(owner))


@pytest.mark.parametrize("name", METHODS)
def test_every_knob_has_a_line_where_it_is_declared(name: str) -> None:
    for knob in fields(METHODS[name]):
        text = inspect.getdoc(declaring(METHODS[name], knob.name)) or ""
        lines = text.splitlines()
        assert any(line.startswith(f"{knob.name}: ") for line in lines), knob.name
