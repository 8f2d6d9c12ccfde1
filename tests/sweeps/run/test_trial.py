"""A trial: a cell that has its row is not computed again, even if an earlier worker died."""

import math
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from ray.tune.search import Searcher

from sweeps.compute.candidates import Tuning
from sweeps.compute.outcome import Outcome
from sweeps.run import trial
from sweeps.run.places import Places
from sweeps.run.trial import run_cell
from sweeps.spec.cells import Cell
from tests.sweeps import builders as make
from tests.sweeps import packs
from unlearn.errors import CannotWrite, NotFinite

SWEEP = make.sweep(grid={"steps": [5, 6]}, resources={"cells_per_trial": 2})
CACHE: Any = SimpleNamespace(device="cpu")


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return packs.places(tmp_path)


@pytest.fixture
def cells() -> list[Cell]:
    return make.cells_of(SWEEP)


@pytest.fixture
def bare_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trials hold `CACHE`, which is on no device, and leave this process's threads alone."""
    monkeypatch.setattr(trial, "WorkerCache", lambda *_: CACHE)
    monkeypatch.setattr(trial, "configure_worker", lambda cpus: None)


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[Cell]:
    """The cells that are computed, in this order; they score nothing."""
    done: list[Cell] = []

    def compute(cache: Any, cell: Cell, made: Any) -> Outcome:
        done.append(cell)
        return Outcome()

    monkeypatch.setattr(trial, "compute", compute)
    return done


@pytest.mark.parametrize("status", ["failed", "ok"])
def test_a_cell_that_has_its_row_is_computed_again_only_where_it_is_tried_again(
    status: str, tmp_path: Path, places: Places, cells: list[Cell], computed: list[Cell]
) -> None:
    """One that failed, and one that lacks an attack: both hold an error."""
    once, retry = packs.pack(cells), packs.pack(cells, retry=True)
    make.write(make.results(tmp_path), cells[0], status, error="by hand")
    plan, again = make.plan(tmp_path, SWEEP), make.plan(tmp_path, SWEEP, retry_failed=True)
    assert [row["cell_id"] for row in plan.errors] == [cells[0].cell_id]
    assert (plan.cells, again.cells) == (1, 2)

    def stored() -> Any:
        row = make.results(tmp_path).find("s", cells[0].cell_id)
        return None if row is None else (row["status"], row["error"])

    # the row is reported as it is: its worker may have died before it could report
    kept = run_cell(CACHE, places, once, cells[0])
    assert (kept.cell_id, kept.failed, kept.wall_s) == (cells[0].cell_id, status == "failed", 0)
    assert stored() == (status, "by hand")
    assert computed == []
    assert not run_cell(CACHE, places, retry, cells[0]).failed
    for pack in (once, retry):
        run_cell(CACHE, places, pack, cells[0])
        assert stored() == ("ok", None)
    assert computed == [cells[0]]


@pytest.mark.usefixtures("bare_worker")
def test_a_pack_is_computed_once_however_often_it_is_stepped(
    places: Places, cells: list[Cell], computed: list[Cell], monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(
        trial, "time", SimpleNamespace(sleep=waits.append, perf_counter=time.perf_counter)
    )
    actor = packs.trial(packs.pack(cells[:1]), places)
    first = actor.step()
    assert [report.cell_id for report in first["reports"]] == [cells[0].cell_id]
    assert [actor.step() for _ in range(7)] == [first] * 7
    assert waits == [0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0]
    assert actor.reset_config(packs.config(packs.pack(cells[1:]), places))
    assert [report.cell_id for report in actor.step()["reports"]] == [cells[1].cell_id]
    assert computed == cells


@pytest.mark.usefixtures("bare_worker")
@pytest.mark.parametrize("before", [-math.inf, 0.5, 0.7])
def test_a_candidate_has_to_beat_the_best_before_it(
    before: float, places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The best of other packs, which the searcher knows, and of its own pack."""
    cells = make.cells(grid={"steps": [5, 6, 7]}, eval={"candidates": "val"})
    accuracies = {cells[0]: (0.2, 0.9), cells[1]: (0.5, 0.9), cells[2]: (0.1, 0.9)}
    bars: list[float] = []

    def read(cache: Any, cell: Cell, best: float) -> Outcome:
        bars.append(best)
        forget, retain = accuracies[cell]
        columns = {"val_forget_accuracy": forget, "val_retain_accuracy": retain}
        return Outcome({**columns, "val_stopped": False})

    monkeypatch.setattr(trial, "compute_candidate", read)
    known = {"fine-tune": before} if math.isfinite(before) else {}
    packs.trial(packs.pack(cells, best=known), places).step()
    first = 0.9 - 1.5 * 0.2  # 0.6; the second scores 0.15
    assert bars == pytest.approx([before, max(before, first), max(before, first)])


def test_a_cell_keeps_its_scores_where_what_choosing_cost_cannot_be_told(
    tmp_path: Path,
    places: Places,
    cells: list[Cell],
    computed: list[Cell],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: Any) -> dict[str, Any]:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(trial, "regret_columns", fail)
    tuning = Tuning(tuple(cells), 1.0, ("lr high",))
    pack = packs.pack(cells, tuning={cells[0].cell_id: tuning})
    report = run_cell(CACHE, places, pack, cells[0])
    assert (report.failed, computed) == (False, [cells[0]])
    row = make.results(tmp_path).find("s", cells[0].cell_id)
    assert row is not None
    assert row["status"] == "ok"
    assert row["error"].startswith("no selection_regret: RuntimeError: out of memory (")
    assert (row["tuning_s"], list(row["bound"])) == (1.0, ["lr high"])


def test_of_a_lost_pack_only_the_cells_without_a_row_failed(
    tmp_path: Path, places: Places, computed: list[Cell]
) -> None:
    """Tried alone after the first death, and three times in all."""
    searcher = packs.searcher(make.sources(tmp_path, SWEEP), places=places)
    pack = packs.ask(searcher, "a")
    run_cell(CACHE, places, pack, pack.cells[0])
    searcher.on_trial_complete("a", error=True)
    for number in (2, 3):
        alone = {name: packs.ask(searcher, f"{name}{number}") for name in "bc"}
        assert {each.cells for each in alone.values()} == {(cell,) for cell in pack.cells}
        assert {each.attempt for each in alone.values()} == {number}
        for name in alone:
            searcher.on_trial_complete(f"{name}{number}", error=True)
    assert packs.ask(searcher, "d") == Searcher.FINISHED
    rows = make.results(tmp_path).read("s").set_index("cell_id")
    assert len(rows) == 2
    assert rows.loc[pack.cells[0].cell_id, "status"] == "ok"
    assert rows.loc[pack.cells[1].cell_id, "status"] == "failed"
    assert "the worker died 3 times on this cell" in str(rows.loc[pack.cells[1].cell_id, "error"])


@pytest.mark.usefixtures("bare_worker")
def test_a_place_that_cannot_be_written_ends_the_pack(
    places: Places, cells: list[Cell], computed: list[Cell], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its other cells are not computed, and the run learns why; the same for an artifact."""

    def full(*_: Any) -> None:
        raise CannotWrite("cannot write /x: No space left on device")

    monkeypatch.setattr("sweeps.rows.journal.write_whole", full)
    halted = {"reports": [], "halt": "cannot write /x: No space left on device", "crowded": False}
    held = packs.trial(packs.pack(cells), places)
    assert held.step() == halted
    assert held.step() == halted
    assert computed == cells[:1]
    monkeypatch.setattr(trial, "compute", full)
    assert packs.trial(packs.pack(cells), places).step() == halted


@pytest.mark.usefixtures("bare_worker")
@pytest.mark.parametrize("may_grow", [True, False])
def test_a_cell_that_a_shared_gpu_did_not_hold_has_no_row(
    may_grow: bool,
    tmp_path: Path,
    places: Places,
    cells: list[Cell],
    computed: list[Cell],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Unless it can get no larger share: then it failed, and the pack goes on."""

    def second_lacks(cache: Any, cell: Cell, made: Any = None) -> Any:
        if cell == cells[1]:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return Outcome()

    monkeypatch.setattr(trial, "compute", second_lacks)
    pack = replace(packs.pack(cells[:2]), may_grow=may_grow)
    result = packs.trial(pack, places).step()
    assert [report.failed for report in result["reports"]] == [False, True][: 2 - may_grow]
    assert result["crowded"] is may_grow
    known = [make.results(tmp_path).find("s", cell.cell_id) is not None for cell in cells[:2]]
    assert known == [True, not may_grow]


@pytest.mark.usefixtures("bare_worker")
def test_a_stacked_pack_is_unlearned_at_once_and_written_cell_by_cell(
    places: Places,
    cells: list[Cell],
    computed: list[Cell],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A cell that has its row is left out; one whose weights are not finite fails alone."""
    three = [*cells, make.cell(grid={"steps": [7]})]
    make.write(make.results(tmp_path), three[0], "ok")
    asked: list[list[Cell]] = []

    def unlearn(cache: Any, missing: list[Cell]) -> dict[str, Any]:
        asked.append(missing)
        return {three[1].cell_id: NotFinite("loss is nan at step 3")}

    monkeypatch.setattr(trial, "unlearn_together", unlearn)
    reports = packs.trial(replace(packs.pack(three), stacked=True), places).step()["reports"]
    assert asked == [three[1:]]
    assert computed == [three[2]]
    assert [report.failed for report in reports] == [False, True, False]
    rows = make.results(tmp_path).read("s").set_index("cell_id")
    assert "loss is nan" in str(rows.loc[three[1].cell_id, "error"])


@pytest.mark.usefixtures("bare_worker")
def test_a_stack_that_breaks_is_computed_cell_by_cell(
    places: Places,
    cells: list[Cell],
    computed: list[Cell],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("vmap: no rule for this layer")

    monkeypatch.setattr(trial, "unlearn_together", broken)
    packs.trial(replace(packs.pack(cells), stacked=True), places).step()
    assert computed == cells
    assert "cells run one by one: RuntimeError: vmap: no rule" in capsys.readouterr().err
