"""The search of a sweep: its knobs, their ranges, and the number of trials."""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, product
from typing import Any

from unlearn.errors import lookup, require
from unlearn.knobs import hint, is_number
from unlearn.methods import KNOBS

DRAWS = {"problem": "alike for all methods of a problem", "method": "each method's own"}
SAMPLERS = ("tpe", "random")
UNITS = {"steps": "budgets in steps", "epochs": "budgets in passes over what a method reads"}
Axis = tuple[Any, ...]  # (low, high) of a number, else the names to choose from


@dataclass(frozen=True)
class Search:
    """An Optuna study per method, model, forget set and seed: forget down, retain up, on val alone.

    trials: how many cells it asks for, at least 1
    space: (knob, axis) pairs; an axis is (low, high) of a number, else the names to choose from
    sampler: `tpe` (arXiv:2304.11127) or `random`
    seed: of the sampler
    draws: `problem`: every method's study of a problem starts with the same quantiles of its axes;
        `method`: each method's study has draws of its own
    units: of the methods' own spaces: `steps`, found on digits; or `epochs`, for any data set:
        budgets are passes over what a method reads, task vectors as long as the weights. Without
        effect where the spec states a space
    """

    trials: int
    space: tuple[tuple[str, tuple[Any, ...]], ...]
    sampler: str = "tpe"
    seed: int = 0
    draws: str = "problem"
    units: str = "steps"

    def __post_init__(self) -> None:
        require(self.trials >= 1, f"search.trials must be at least 1, not {self.trials}")
        require(
            self.sampler in SAMPLERS,
            f"unknown search.sampler {self.sampler!r}; known: {', '.join(SAMPLERS)}",
        )
        lookup("search.draws", self.draws, DRAWS)
        lookup("search.units", self.units, UNITS)
        require(
            len(self.space) > 0, "search.space is empty; name at least one knob and its [low, high]"
        )
        for knob, axis in self.space:
            _check_axis(knob, axis)
        if self.finite:
            size = math.prod(_size(knob, axis) for knob, axis in self.space)
            require(
                self.trials <= size,
                f"search.trials is {self.trials}, but search.space has only {size} points",
            )

    def points(self) -> Iterator[dict[str, Any]]:
        """Yield every point of a finite space."""
        names = [knob for knob, _ in self.space]
        values_of = [_values(knob, axis) for knob, axis in self.space]
        for values in product(*values_of):
            yield dict(zip(names, values, strict=True))

    def contains(self, point: Mapping[Any, Any]) -> bool:
        """Whether the point lies in the space; one with a null never does."""
        return all(_within(knob, axis, point[knob]) for knob, axis in self.space)

    def ends(self) -> list[tuple[tuple[str, Any], ...]]:
        """Return both ends of every axis, and every corner of the space."""
        axes = [list(product([knob], axis)) for knob, axis in self.space]
        single = [(end,) for end in chain(*axes)]
        return [*single, *product(*axes)]

    @property
    def finite(self) -> bool:
        """Whether the space has a finite number of points: no knob is a float.

        A knob that no method has counts as a float; `Sweep` refuses it by name.
        """
        return not any(KNOBS.get(knob, float) is float for knob, _ in self.space)


def _check_axis(knob: str, axis: Axis) -> None:
    kind = KNOBS.get(knob)
    least = 1 if kind is str else 2  # one name is a knob that the space sets
    require(len(axis) >= least, f"search.space.{knob} needs [low, high] or names, not {list(axis)}")
    if kind in (int, float):
        hints = "".join(dict.fromkeys(map(hint, axis)))
        require(
            _is_range(axis, kind),
            f"search.space.{knob} must be [low, high] of {kind.__name__}s with low < high, "
            f"not {list(axis)}{hints}",
        )


def _is_range(axis: Axis, kind: type) -> bool:
    """Whether the axis holds two numbers, the lower one first, both whole where `kind` is int."""
    if len(axis) != 2 or not all(map(is_number, axis)):
        return False
    low, high = axis
    if not low < high:
        return False
    return kind is float or all(float(value).is_integer() for value in axis)


def _within(knob: str, axis: Axis, value: Any) -> bool:
    if KNOBS[knob] in (int, float):
        low, high = axis
        return bool(low <= value <= high)
    return value in axis


def _size(knob: str, axis: Axis) -> int:
    if KNOBS[knob] is int:
        low, high = axis
        return int(high) - int(low) + 1
    return len(axis)


def _values(knob: str, axis: Axis) -> Iterable[Any]:
    if KNOBS[knob] is int:
        low, high = axis
        return range(int(low), int(high) + 1)
    return axis


def is_logarithmic(axis: Axis) -> bool:
    """Whether a number is searched on a log scale: bounds above 0, a factor of 10 or more apart."""
    low, high = axis
    return bool(low > 0 and 10 * low <= high)
