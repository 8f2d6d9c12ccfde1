"""Make the status records of a run: what it will compute, and the space that it searches."""

import time
from collections.abc import Callable

from sweeps.plan.plan import Plan
from sweeps.rows.runs import RunRecord
from sweeps.spec.sections import Resources
from sweeps.spec.sweep import Sweep


def records_of(plan: Plan, slots: Callable[[Resources], int]) -> list[RunRecord]:
    """Return a record per sweep that has cells to compute; `slots` counts trials at once."""
    now = time.time()
    records = []
    for sweep in plan.sweeps:
        planned = plan.cells_of(sweep)
        if planned:
            done = plan.done_of.get(sweep.name, 0)
            records.append(_record(sweep, planned, done, slots(sweep.resources), now))
    return records


def _record(sweep: Sweep, planned: int, done: int, slots: int, now: float) -> RunRecord:
    space: dict[str, dict[str, list[object]]] = {}
    for method, search in sweep.search:
        space[method] = {knob: list(axis) for knob, axis in search.space}
    grid = {knob: list(values) for knob, values in sweep.grid}
    return RunRecord(sweep.name, planned, done, slots, now, space, grid)
