"""Unlearn several cells as one program, where a GPU would idle under one at a time."""

from collections.abc import Hashable, Sequence
from typing import Any

import torch

from sweeps.compute.cache import WorkerCache
from sweeps.compute.cell import Made, recorder_of, steps_captured
from sweeps.compute.gpu import BusyWatch
from sweeps.compute.outcome import Stopwatch
from sweeps.spec.cells import Cell
from unlearn.capture import step_reports
from unlearn.errors import NotFinite
from unlearn.methods.base import Run
from unlearn.stack import can_be_stacked
from unlearn.streams import seeded, stream

MOST = 64  # members: more are hardly faster


def stack_key(cell: Cell) -> Hashable | None:
    """Return what cells must have in common to be unlearned as one program; None: this one is not.

    They may differ in forget set, seed, and the knobs that the method's own key leaves out.
    """
    problem = cell.problem
    own = cell.method.stack_key()
    if own is None or problem.task != "generator" or problem.eval.candidates == "val":
        return None
    alike = (problem.dataset, problem.model, problem.options, problem.train)
    return (cell.method_name, own, *alike)


def unlearn_together(cache: WorkerCache, cells: Sequence[Cell]) -> dict[str, Made | NotFinite]:
    """Unlearn cells of one `stack_key`; return what each gave, by `cell_id`.

    Where the device has too little memory for all of them, halves are tried, one after the other.
    Empty where the network cannot be stacked: each cell is then unlearned by itself.
    """
    if len(cells) < 2 or not can_be_stacked(cache.model(cells[0].problem.original)):
        return {}
    try:
        return _unlearned(cache, cells)
    except torch.OutOfMemoryError:
        torch.cuda.empty_cache()
    half = len(cells) // 2
    return unlearn_together(cache, cells[:half]) | unlearn_together(cache, cells[half:])


def _unlearned(cache: WorkerCache, cells: Sequence[Cell]) -> dict[str, Made | NotFinite]:
    watch = Stopwatch()
    with cache.lending():
        recorders = [recorder_of(cache, cell) for cell in cells]
        runs = []
        for cell, recorder in zip(cells, recorders, strict=True):
            runs.append(_run(cache, cell, recorder))
        artifacts_s = watch.lap() / len(cells)
        first = cells[0]
        with (
            seeded(first.problem.seed, "unlearn", first.method_name),
            step_reports() as reports,
            BusyWatch(cache.device) as busy,
        ):
            results = first.method.together(runs)
    unlearn_s = watch.lap() / len(cells)
    columns = {
        "artifacts_s": artifacts_s,
        "unlearn_s": unlearn_s,
        "stacked": len(cells),
        "step_captured": steps_captured(reports),
        "gpu_busy": busy.share,
    }
    made: dict[str, Made | NotFinite] = {}
    for cell, result, recorder in zip(cells, results, recorders, strict=True):
        if isinstance(result, NotFinite):
            made[cell.cell_id] = result
        else:
            made[cell.cell_id] = Made(result, columns, recorder)
    return made


def _run(cache: WorkerCache, cell: Cell, recorder: Any) -> Run:
    """Return what the cell's method is called with, as `sweeps.compute.cell.unlearn` calls it."""
    problem = cell.problem
    generator = stream(problem.seed, "unlearn", cell.method_name, device=cache.device)
    needs = {**cache.needs(cell), "watch": recorder}
    splits = cache.splits(*problem.divided)
    return Run(cell.method, cache.model(problem.original), splits, generator, needs)
