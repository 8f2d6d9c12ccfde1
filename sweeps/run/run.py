"""Run a plan: make artifacts, then compute cells; those that val chooses as soon as it can."""

import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing, nullcontext
from dataclasses import dataclass, replace
from typing import Any

from sweeps.plan.chosen_source import ChosenSource
from sweeps.plan.plan import Plan
from sweeps.plan.record import records_of
from sweeps.plan.sources import Source, open_sources
from sweeps.rows.results import Results
from sweeps.rows.runs import write_record
from sweeps.run.budget import Allowance, Budget
from sweeps.run.calibration import Calibration
from sweeps.run.folding import Folding
from sweeps.run.nodes import check_data
from sweeps.run.places import Places
from sweeps.run.prepare import prepare
from sweeps.run.resources import (
    check_resources,
    ray_nodes,
    resources_by_artifact,
    slots,
    without_gpus,
)
from sweeps.run.searcher import PackSearcher
from sweeps.run.trial import CellReport, record_failure
from sweeps.run.tune import check_version, run_packs, waiting_workers
from sweeps.spec.cells import Cell
from sweeps.spec.recipes import Recipe
from unlearn.artifacts import Store

Progress = Callable[[str, int, str], Any]  # (stage, how many more are done, name of the last)


@dataclass(frozen=True)
class RunResult:
    """The counts and seconds of a finished run.

    cells: how many were planned
    prepare_s: seconds of making artifacts
    tune_s: seconds of computing cells
    computed_s: seconds spent computing inside the workers, summed over all slots
    slots: how many trials ran at once
    left: how many cells the budget left
    """

    cells: int
    prepare_s: float
    tune_s: float
    computed_s: float
    slots: int
    left: int = 0


def run(
    plan: Plan,
    places: Places,
    progress: Progress,
    retry_failed: bool = False,
    joined: bool = False,
    budget: Budget | None = None,
) -> RunResult:
    """Compute every planned cell, so that each has one row. Needs an initialised Ray.

    plan: with cells to compute
    joined: whether this Ray runs without us: nodes may still join it, and its workers have an
        environment of their own
    budget: when to stop in good order; None to compute all cells

    Safe to interrupt and to repeat at any moment. Raises `CannotWrite` where rows or artifacts
    cannot be written.
    """
    check_version()
    if not joined and not any(node.gpu for node in ray_nodes()):
        plan = without_gpus(plan)
    check_resources(plan, joined)
    check_data(plan, places.data_root)
    results = Results(places.results)
    records = records_of(plan, slots)
    for record in records:
        write_record(results, record)
    allowance = Allowance(budget or Budget())
    calibration = Calibration(Store(places.store))
    names = [sweep.name for sweep in plan.sweeps]
    actors = nullcontext() if joined else waiting_workers()
    fold = Folding(results, names, calibration.hear)
    with closing(calibration), actors, fold as folding:
        clock = Clock(progress, folding)
        empty = _run(plan, places, clock, allowance, retry_failed)
    for record in records:
        if empty[record.sweep]:
            write_record(results, replace(record, planned=record.planned - empty[record.sweep]))
    room = slots(plan.work[0].sweep.resources)
    cells = plan.cells - empty.total()
    left = cells - clock.cells if allowance.spent else 0
    return RunResult(cells, clock.prepare_s, clock.tune_s, clock.computed_s, room, left)


class Clock:
    """Reports progress, and adds up cells and seconds: of both stages, and of workers computing."""

    def __init__(self, progress: Progress, folding: Folding) -> None:
        self.progress, self.folding = progress, folding
        self.cells = 0
        self.prepare_s = self.tune_s = self.computed_s = 0.0

    def artifact_done(self, recipe: Recipe, seconds: float) -> None:
        self.computed_s += seconds
        self.progress("prepare", 1, recipe.describe())

    def pack_done(self, reports: list[CellReport]) -> None:
        self.computed_s += sum(report.wall_s for report in reports)
        self.folding.wrote(report.cell_id for report in reports)
        self.cells += len(reports)
        failed = sum(report.failed for report in reports)
        self.progress("cells", len(reports), f"{failed} failed" if failed else "")

    def cell_failed(self, cell: Cell) -> None:
        self.folding.wrote([cell.cell_id])
        self.cells += 1
        self.progress("cells", 1, f"{cell.problem.model} failed")


def _run(
    plan: Plan, places: Places, clock: Clock, allowance: Allowance, retry_failed: bool
) -> Counter[str]:
    """Make the plan's artifacts, then compute its cells.

    Returns by sweep how many planned cells do not come: val could choose none, because all
    candidates have failed.
    """
    started = time.perf_counter()
    store = Store(places.store)
    broken = {}
    if plan.build:
        asked = resources_by_artifact(plan)
        done = clock.artifact_done
        broken = prepare(store, places.data_root, plan.build, asked, done, allowance)
    prepared = time.perf_counter()
    clock.prepare_s += prepared - started

    sources = open_sources(plan.work)
    _drop_broken(sources, broken, places, clock)
    if any(source.left for source in sources) and not allowance.spent:
        searcher = PackSearcher(sources, places, slots, retry_failed, allowance, clock.cell_failed)

        def pack_done(reports: list[CellReport]) -> None:
            clock.pack_done(reports)
            searcher.halt = searcher.halt or clock.folding.halt

        run_packs(searcher, pack_done)
        written = searcher.written()
        if written:
            clock.pack_done(written)
    clock.tune_s += time.perf_counter() - prepared
    chosen = [source for source in sources if isinstance(source, ChosenSource)]
    return Counter(source.sweep.name for source in chosen if source.empty)


def _drop_broken(
    sources: list[Source], broken: dict[str, str], places: Places, clock: Clock
) -> None:
    """Drop the cells whose artifacts could not be made, and write failed rows for them."""

    if not broken:
        return

    def why(cell: Cell) -> str:
        errors = set()
        for recipe in cell.recipes().values():
            if recipe.key in broken:
                errors.add(broken[recipe.key])
        return "; ".join(sorted(errors))

    for source in sources:
        for cell, reason in source.drop(why):
            record_failure(places, source.sweep, cell, reason)
            clock.cell_failed(cell)
