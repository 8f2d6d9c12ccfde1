"""Show the progress of a run with an ETA: bars on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

if TYPE_CHECKING:  # a job's status needs no plan, whose import takes seconds
    from sweeps.plan.plan import Plan

PREPARE, CELLS = "prepare", "cells"  # stages
UNITS = {PREPARE: "artifact", CELLS: "cell"}  # stage -> what it counts
REFRESH_S, LOG_S = 0.1, 10.0  # seconds between updates: on a terminal, elsewhere

Show = Callable[[str, int, str], None]  # the progress callback of `sweeps.run.run.run`


@dataclass
class Stage:
    """How far a stage is.

    name: `prepare` or `cells`
    total, done, failed: counts in this run; `done` includes `failed`
    started: monotonic seconds at which its first item began
    now: monotonic seconds
    """

    name: str
    total: int
    now: Callable[[], float] = time.monotonic
    done: int = 0
    failed: int = 0
    started: float = field(init=False)

    def __post_init__(self) -> None:
        self.started = self.now()

    def advance(self, more: int, what: str) -> None:
        """Count `more` items. `what`: as `run` reports it; cells that failed end in `failed`."""
        self.done += more
        if what.endswith("failed"):
            count = what.split()[0]
            self.failed += int(count) if count.isdigit() else more

    @property
    def eta_s(self) -> float | None:
        """Seconds that the rest takes at the mean pace of this run; None before the first item."""
        if not self.done:
            return None
        return (self.now() - self.started) / self.done * (self.total - self.done)

    def line(self) -> str:
        """Return one line for a log."""
        left = self.total - self.done
        eta = "" if self.eta_s is None else f", ETA {tqdm.format_interval(self.eta_s)}"
        failed = f"{self.failed} failed, " if self.name == CELLS else ""
        counts = f"{self.done} of {self.total} {UNITS[self.name]}s, {failed}{left} left"
        return f"{self.name}: {counts}{eta}"


@contextmanager
def progress(plan: "Plan") -> Iterator[Show]:
    """Yield the progress callback of a run: bars where stderr is a terminal, lines elsewhere."""
    with (bars if sys.stderr.isatty() else lines)(stages(plan)) as show:
        yield show


def stages(plan: "Plan") -> dict[str, Stage]:
    """Return the stages that have something to do."""
    totals = {PREPARE: len(plan.build), CELLS: plan.cells}
    return {name: Stage(name, total) for name, total in totals.items() if total}


@contextmanager
def lines(found: dict[str, Stage]) -> Iterator[Show]:
    """Print a line at a stage's first and last item, and at most every `LOG_S` in between."""
    printed: dict[str, float] = {}

    def show(name: str, more: int, what: str) -> None:
        stage = _advanced(found, name, more, what)
        if stage is None:
            return
        now = stage.now()
        if stage.done >= stage.total or now - printed.get(name, -LOG_S) >= LOG_S:
            printed[name] = now
            print(stage.line(), file=sys.stderr, flush=True)

    yield show


@contextmanager
def bars(found: dict[str, Stage]) -> Iterator[Show]:
    """Draw a bar for each stage."""
    drawn: dict[str, tqdm[Any]] = {}
    for position, (name, stage) in enumerate(found.items()):
        drawn[name] = tqdm(
            total=stage.total,
            desc=f"{name:8}",
            unit=UNITS[name],
            position=position,
            mininterval=REFRESH_S,
            dynamic_ncols=True,
            smoothing=0,  # the mean pace since `start_t`
        )

    def show(name: str, more: int, what: str) -> None:
        stage = _advanced(found, name, more, what)
        if stage is None:
            return
        bar = drawn[name]
        if not bar.n:
            bar.start_t = time.time() - (stage.now() - stage.started)
        bar.set_postfix_str(what, refresh=False)
        bar.update(more)

    try:
        yield show
    finally:
        for bar in drawn.values():
            bar.close()


def _advanced(found: dict[str, Stage], name: str, more: int, what: str) -> Stage | None:
    """Count items of a stage, and return it; None for one that had nothing to do."""
    stage = found.get(name)
    if stage is None:
        return None
    stage.advance(more, what)
    cells = found.get(CELLS)
    if name == PREPARE and cells is not None and not cells.done:
        cells.started = stage.now()  # cells begin when the last artifact is made
    return stage


def last_line(log: str) -> str | None:
    """Return the last progress line of cells in a job's log; None where it has none."""
    found = [line for line in log.splitlines() if line.startswith(f"{CELLS}: ")]
    return found[-1] if found else None
