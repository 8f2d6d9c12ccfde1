"""A limit on a run: seconds of wall time, or a number of cells."""

import math
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from unlearn.errors import BadInput, require

UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True)
class Budget:
    """What a run may spend before it stops in good order.

    seconds: of wall time, from its start; infinite for no limit
    cells: how many it computes; infinite for no limit

    It limits one of the two.
    """

    seconds: float = math.inf
    cells: float = math.inf

    def __post_init__(self) -> None:
        require(
            math.inf in (self.seconds, self.cells),
            f"a budget of {self.seconds:g} s and {self.cells:g} cells has two limits; give one",
        )
        require(
            self.seconds > 0 and self.cells > 0,
            f"a budget of {self.seconds:g} s and {self.cells:g} cells allows nothing; raise it",
        )


def read_budget(text: str) -> Budget:
    """Return the budget that a text states: 90s, 45m, 1.5h or 500cells. Raises `BadInput`."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(s|m|h|cells)", text.strip())
    if found is None or (found[2] == "cells" and "." in found[1]):
        raise BadInput(f"--budget {text!r} is no budget; write 90s, 45m, 1.5h or 500cells")
    if found[2] == "cells":
        return Budget(cells=int(found[1]))
    return Budget(seconds=float(found[1]) * UNITS[found[2]])


@dataclass
class Allowance:
    """What is left of a budget while a run goes on.

    budget: of the run, which begins now
    now: the clock in seconds, replaced in tests
    spent: whether cells were held back because of it
    """

    budget: Budget = field(default_factory=Budget)
    now: Callable[[], float] = time.monotonic
    spent: bool = False

    def __post_init__(self) -> None:
        self._ends = self.now() + self.budget.seconds
        self._cells = self.budget.cells

    @property
    def seconds_left(self) -> float:
        return max(0.0, self._ends - self.now())

    def cells(self, wanted: int, seconds: float | None, kept: int = 0) -> int:
        """Return how many of the wanted cells may be handed out now.

        seconds: expected for one cell; None where nobody knows, which allows one cell at a time
        kept: cells that come next; one is kept for each, and the budget is not spent without them
        """
        allowed = min(wanted, self._cells - kept, self._in_time(seconds))
        if allowed < 1 and not kept:
            self.spent = True
        return max(0, int(allowed))

    def take(self, cells: int) -> None:
        """Count cells that were handed out."""
        self._cells -= cells

    def retries(self, wanted: int, seconds: float | None) -> int:
        """Return how many of the wanted cells, handed out before, may be tried again now.

        They are counted already, so that only a budget of seconds holds them back.

        seconds: as for `cells`
        """
        if self.budget.seconds == math.inf:
            return wanted
        allowed = min(wanted, self._in_time(seconds))
        if allowed < 1:
            self.spent = True
        return 0 if self.spent else int(allowed)

    def _in_time(self, seconds: float | None) -> float:
        """Return how many cells end in time, if each takes so long."""
        left = self.seconds_left
        if left == math.inf:
            return math.inf
        return left // max(seconds, 1e-3) if seconds is not None else float(left > 0)
