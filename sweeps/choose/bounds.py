"""Tell which knobs of a chosen cell lie on a bound of the space it was chosen from.

The best value may then lie outside: the range is worth widening, where the knob allows it.
"""

import math
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import pandas as pd
from pandas.api.types import is_numeric_dtype

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


def tried_ends(rows: pd.DataFrame) -> dict[str, tuple[float, float]]:
    """Return the lowest and highest value of every number that rows of one method vary."""
    found = {}
    for knob, kind in KNOBS.items():
        if kind not in (int, float) or knob not in rows or not is_numeric_dtype(rows[knob]):
            continue  # rows may come from others
        low, high = rows[knob].min(), rows[knob].max()
        if low < high:  # false where the method has no such knob
            found[knob] = (float(low), float(high))
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


def bound_of(row: pd.Series, rows: pd.DataFrame) -> tuple[str, ...]:
    """Return the bounds on which a chosen row lies.

    They are the row's own, if it was written with them; else of the values that `rows` tried with
    its method.
    """
    own = row.get("bound")
    if own is not None and not isinstance(own, float):  # pandas reads a missing list as nan
        return tuple(own)
    return at_bounds(row.to_dict(), tried_ends(rows[rows["method"] == row["method"]]))


def in_words(bound: tuple[str, ...]) -> str:
    """Say where a chosen cell lies: "alpha lies at the low end of its range"; "" for none."""
    texts = []
    for entry in bound:
        knob, _, end = entry.rpartition(" ")
        texts.append(f"{knob} lies at the {end} end of its range")
    return " and ".join(texts)
