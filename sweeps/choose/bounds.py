"""Tell which knobs of a chosen cell lie on a bound of the space it was chosen from.

The best value may then lie outside: the range is worth widening, where the knob allows it.
"""

import math
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import pandas as pd

from sweeps.spec.search import is_logarithmic
from sweeps.spec.sweep import Sweep
from unlearn.methods import KNOBS, METHODS

NEAR = 0.01  # of the range: a sampler comes near a bound and never reaches it
Ends = Mapping[str, tuple[float, float]]  # knob -> lowest and highest value


def ends_of(sweep: Sweep, method: str) -> dict[str, tuple[float, float]]:
    """Return the ends of every number that the sweep varies for a method, by knob."""
    axes: dict[str, tuple[Any, ...]] = dict(sweep.grid)
    if sweep.search:
        axes |= dict(dict(sweep.search)[method].space)
    found = {}
    for knob, axis in axes.items():
        known = any(f.name == knob for f in fields(METHODS[method]))
        if known and KNOBS[knob] in (int, float) and len(axis) > 1:
            found[knob] = (float(min(axis)), float(max(axis)))
    return found


def at_bounds(knobs: Mapping[Any, Any], ends: Ends) -> tuple[str, ...]:
    """Return the knobs that lie within 1 % of an end of their range: `alpha low`, `rho high`.

    On a range that is searched by its logarithm the distance is one of logarithms.
    """
    found = []
    for knob, (low, high) in sorted(ends.items()):
        value = float(knobs[knob])
        if is_logarithmic((low, high)) and value > 0:
            low, high, value = math.log(low), math.log(high), math.log(value)
        near = NEAR * (high - low)
        if value <= low + near:
            found.append(f"{knob} low")
        elif value >= high - near:
            found.append(f"{knob} high")
    return tuple(found)


def bound_of(row: pd.Series) -> tuple[str, ...]:
    """Return the bounds on which a row was recorded to lie; () where none were recorded.

    Only cells chosen among candidates have a record. The values tried do not stand in for it: with
    few trials most of them are the lowest or the highest, wherever they lie in the range.
    """
    bound = row.get("bound")
    if bound is None or isinstance(bound, float):  # pandas reads a missing list as nan
        return ()
    return tuple(bound)


def in_words(bound: tuple[str, ...]) -> str:
    """Say where a chosen cell lies: "alpha lies at the low end of its range"; "" for none."""
    texts = []
    for entry in bound:
        knob, _, end = entry.rpartition(" ")
        texts.append(f"{knob} lies at the {end} end of its range")
    return " and ".join(texts)
