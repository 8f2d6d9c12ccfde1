"""The entry of a column in the dictionary of rows: what it is, in which unit, what is better.

Methods, metrics and attacks make the entries of their own columns where they define them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from unlearn.errors import lookup

DIRECTIONS = {
    "higher": "a higher value is better",
    "lower": "a lower value is better",
    "oracle": "the nearer to the oracle's value the better",
    "": "no value is better than another",
}


@dataclass(frozen=True)
class Scale:
    """The unit of a score and its direction.

    unit: `share`, `nats`, `steps`, `s`, ...; "" for a number without one
    direction: a key of `DIRECTIONS`
    """

    unit: str = ""
    direction: str = ""

    def __post_init__(self) -> None:
        lookup("direction", self.direction, DIRECTIONS)


NO_SCALE = Scale()


@dataclass(frozen=True)
class Column:
    """A column of a row.

    name: in the row
    type: `int`, `float`, `str`, `bool`, `list` (of floats), `list[int]`, `tuple[str, ...]`, ...
    meaning: in one sentence
    scale: its unit and direction
    source: what fills it: a metric, an attack, a knob of methods, a part of the spec, the run
    """

    name: str
    type: Any
    meaning: str
    scale: Scale = NO_SCALE
    source: str = ""

    def of(self, model: str) -> "Column":
        """Return the column that holds the same score of a reference model, as `second_oracle`."""
        meaning = f"`{self.name}` of the {model.replace('_', ' ')} model"
        return Column(
            f"{model}_{self.name}", self.type, meaning, Scale(self.scale.unit), self.source
        )

    def or_of(self, other: "Column") -> "Column":
        """Return one entry for a column that two metrics fill, each for models of its own task."""
        if self.meaning == other.meaning:
            return self
        meaning = f"{self.source}: {self.meaning}; {other.source}: {other.meaning}"
        return Column(self.name, self.type, meaning, self.scale, f"{self.source}; {other.source}")


def scale_of(name: str, scales: Mapping[str, Scale]) -> Scale:
    """Return the scale of a column: by its name, else by the first pattern that fits; else none."""
    if name in scales:
        return scales[name]
    for pattern, scale in scales.items():
        if fnmatchcase(name, pattern):
            return scale
    return NO_SCALE


def merged(*entries: Column) -> dict[str, Column]:
    """Return the entries by name; two of one name become one."""
    found: dict[str, Column] = {}
    for entry in entries:
        known = found.get(entry.name)
        found[entry.name] = entry if known is None else known.or_of(entry)
    return found
