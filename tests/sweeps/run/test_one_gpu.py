"""How busy one GPU is under `gpu: auto`, by a stand-in for Tune with seconds made up."""

from pathlib import Path
from typing import Any

import pytest

from sweeps.run.budget import Allowance, Budget
from sweeps.run.searcher import PackSearcher
from sweeps.spec.cells import Cell
from sweeps.spec.sections import Resources
from tests.sweeps import builders as make
from tests.sweeps import packs
from tests.sweeps.run.one_gpu import OneGpu

AUTO = {"cpu": 1, "gpu": "auto"}


def slots(needs: Resources) -> int:
    """Of a machine with 16 cores and one GPU."""
    return min(16, int(1 / needs.gpu + 1e-9))


def scores(cell: Cell) -> dict[str, Any]:
    return {"val_forget_accuracy": 0.1, "val_retain_accuracy": 0.9}


def grid_searcher(folder: Path, cells: int) -> PackSearcher:
    alphas = [-1.0 * n for n in range(1, cells + 1)]
    resources = {**AUTO, "cells_per_trial": 1}
    document = {"method": "task-arithmetic", "grid": {"alpha": alphas}, "resources": resources}
    return packs.searcher(make.sources(folder, make.sweep(**document)), slots)


def test_four_actors_start_together_and_fill_the_gpu(tmp_path: Path) -> None:
    """9 s of start; then eight cells of 1 s one after the other, all after the first 0.5 s."""
    gpu = OneGpu(grid_searcher(tmp_path, 8), lambda cell: (0.5, 1.0), scores)
    gpu.play()
    assert [moment for moment, _ in gpu.done] == [9.5 + n for n in range(1, 9)]
    assert (gpu.first, gpu.busy_s, gpu.most) == (9.5, 8.0, 4)


def test_where_memory_holds_two_cells_halves_take_over(tmp_path: Path) -> None:
    """Five quarters are out and end without a row, after 9 s; two halves are up 9 s later."""
    gpu = OneGpu(grid_searcher(tmp_path, 8), lambda cell: (0.0, 1.0), scores)
    gpu.crowds = lambda pack: pack.gpu < 0.5
    gpu.play()
    assert [moment for moment, _ in gpu.done] == [19.0 + n for n in range(8)]
    assert len({cell.cell_id for _, cell in gpu.done}) == 8


def test_three_documents_share_one_gpu_without_gaps(tmp_path: Path) -> None:
    """Task arithmetic and two slower methods, in three documents, for 120 s.

    Of 108 s after actors (9 s) and data (3 s), at least 80 % are busy; the four choices of
    task arithmetic, then one of fine-tuning, are scored before three quarters are over.
    """
    search = {"trials": 40, "space": {"alpha": [-10.0, 0.0]}}
    common = {"forget": [[0], [3]], "eval": {"candidates": "val"}, "resources": AUTO}
    arithmetic = {"method": "task-arithmetic", "search": search, **common}
    slower = {"method": ["fine-tune", "gradient-ascent"], "search": {"trials": 6}, **common}
    sweeps = [
        make.sweep(name="ta", **arithmetic),
        make.sweep(name="ta-longer", train={"expert_steps": 7}, **arithmetic),
        make.sweep(name="others", **slower),
    ]
    clock = [0.0]
    allowance = Allowance(Budget(seconds=120.0), now=lambda: clock[0])
    searcher = packs.searcher(make.sources(tmp_path, *sweeps), slots, allowance=allowance)

    def work(cell: Cell) -> tuple[float, float]:
        """A tenth of a second, or 2 and 10 s; a quarter of it on the host."""
        seconds = {"task-arithmetic": 0.1, "fine-tune": 2.0, "gradient-ascent": 10.0}
        clock[0] = gpu.now
        return seconds[cell.method_name] / 4, seconds[cell.method_name] * 3 / 4

    gpu = OneGpu(searcher, work, scores, load_s=3.0)
    gpu.play()
    end = gpu.done[-1][0]
    assert gpu.first == pytest.approx(9 + 3 + 0.025)
    assert gpu.busy_s / (end - gpu.first) > 0.8
    chosen = [(t, cell) for t, cell in gpu.done if cell.problem.eval.candidates == "full"]
    names = [cell.method_name for _, cell in chosen]
    assert names[:5] == ["task-arithmetic"] * 4 + ["fine-tune"]
    assert chosen[4][0] < 90
