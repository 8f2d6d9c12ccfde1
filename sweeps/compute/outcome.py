"""The outcome of a cell: the record that computing a cell hands to writing its row."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sweeps.compute.gpu import synchronize


@dataclass(frozen=True)
class Outcome:
    """The result of one attempt at a cell.

    columns: column -> value of scores, curves and seconds
    status: `ok`, or `failed` where there are no scores
    error: why it failed, or what is missing beside the scores; None where nothing is
    """

    columns: Mapping[str, Any] = field(default_factory=dict)
    status: str = "ok"
    error: str | None = None

    @property
    def failed(self) -> bool:
        return self.status == "failed"

    def extended(self, columns: Mapping[str, Any], error: str | None = None) -> "Outcome":
        """Return the outcome with more columns and, where there is one, a further error."""
        errors = [text for text in (self.error, error) if text]
        joined = "; ".join(errors) or None
        return Outcome({**self.columns, **columns}, self.status, joined)

    def as_columns(self) -> dict[str, Any]:
        """Return everything as columns of a row."""
        return {**self.columns, "status": self.status, "error": self.error}


class Stopwatch:
    """Measures the seconds of one stage after another; a stage on a GPU ends when its work does."""

    def __init__(self) -> None:
        self.last = time.perf_counter()

    def lap(self) -> float:
        """Return the seconds since the last lap."""
        synchronize()
        before, self.last = self.last, time.perf_counter()
        return self.last - before
