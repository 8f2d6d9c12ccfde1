"""A trial: a cell that has its row is not computed again, whatever became of the worker before."""

import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.tune.search import Searcher

from sweeps.compute.cell import Tuning
from sweeps.plan.plan import Plan, make_plan
from sweeps.rows.results import Results
from sweeps.rows.schema import row_of
from sweeps.run import trial
from sweeps.run.run import places_for
from sweeps.run.searcher import PackSearcher
from sweeps.run.trial import Pack, PackTrial, Places, run_cell
from sweeps.spec.cells import Cell
from sweeps.spec.parse import parse
from unlearn.artifacts import Store

SWEEP = parse(
    {"name": "s", "models": "cnn", "method": "fine-tune", "forget": [1], "grid": {"steps": [5, 6]}}
)


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return places_for(str(tmp_path / "store"), str(tmp_path / "results"), "data")


@pytest.fixture
def cells(places: Places) -> tuple[Cell, ...]:
    return tuple(planned(places, False).sources[0].take(2))


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[Cell]:
    done: list[Cell] = []
    monkeypatch.setattr(trial, "compute", lambda cache, cell: done.append(cell) or {})
    return done


BENCH: Any = SimpleNamespace(device="cpu")


def planned(places: Places, retry: bool) -> Plan:
    return make_plan([SWEEP], Store(places.store), Results(places.results), retry)


@pytest.mark.parametrize("status", ["failed", "ok"])
def test_a_cell_that_has_its_row_is_computed_again_only_where_it_is_tried_again(
    status: str, places: Places, cells: tuple[Cell, ...], computed: list[Cell]
) -> None:
    """One that failed, and one that lacks an attack: both hold an error."""
    once, retry = (Pack("s", cells, 1, 0, retry) for retry in (False, True))
    stamp = {"created_at": datetime.now(UTC)}
    Results(places.results).write(
        "s", row_of(cells[0], {"status": status, "error": "by hand", **stamp})
    )
    assert [row["cell_id"] for row in planned(places, False).errors] == [cells[0].cell_id]
    assert (planned(places, False).cells, planned(places, True).cells) == (1, 2)
    kept = run_cell(
        BENCH, places, once, cells[0]
    )  # told as it stands: its worker may have died before it was heard of
    assert (kept["cell_id"], kept["status"], kept["error"], kept["wall_s"]) == (
        cells[0].cell_id,
        status,
        "by hand",
        0,
    )
    assert computed == []
    assert run_cell(BENCH, places, retry, cells[0])["status"] == "ok"
    for pack in (once, retry):
        assert run_cell(BENCH, places, pack, cells[0])["error"] is None
    assert computed == [cells[0]]


def test_a_pack_is_computed_once_however_often_it_is_stepped(
    places: Places, cells: tuple[Cell, ...], computed: list[Cell], monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(
        trial, "time", SimpleNamespace(sleep=waits.append, perf_counter=time.perf_counter)
    )
    monkeypatch.setattr(trial, "WorkerCache", lambda *_: BENCH)
    monkeypatch.setattr(trial, "configure_worker", lambda cpus: None)
    actor = object.__new__(PackTrial)
    actor.setup({"pack": Pack("s", cells[:1], 1, 0, False), "site": places})
    first = actor.step()
    assert [row["cell_id"] for row in first["rows"]] == [cells[0].cell_id]
    assert [actor.step() for _ in range(7)] == [first] * 7
    assert waits == [0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0]
    assert actor.reset_config({"pack": Pack("s", cells[1:], 1, 0, False), "site": places})
    assert [row["cell_id"] for row in actor.step()["rows"]] == [cells[1].cell_id]
    assert computed == list(cells)


def test_a_cell_keeps_its_scores_where_what_choosing_cost_cannot_be_told(
    places: Places, cells: tuple[Cell, ...], computed: list[Cell], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> dict[str, Any]:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(trial, "tuned", fail)
    pack = Pack("s", cells, 1, 0, False, tuning=((cells[0].cell_id, Tuning(cells, 1.0)),))
    row = run_cell(BENCH, places, pack, cells[0])
    assert (row["status"], computed) == ("ok", [cells[0]])
    assert row["error"].startswith("no selection_regret: RuntimeError: out of memory (")


def test_of_a_lost_pack_only_the_cells_without_a_row_failed(
    places: Places, computed: list[Cell]
) -> None:
    """Tried alone after the first death, and never more than three times."""
    sources = list(make_plan([SWEEP], Store(places.store), Results(places.results)).sources)
    sources[0].sweep = replace(SWEEP, resources=replace(SWEEP.resources, cells_per_trial=2))
    searcher = PackSearcher(sources, places, lambda needs: 1, retry=False)
    pack = searcher.suggest("a")["pack"]
    run_cell(BENCH, places, pack, pack.cells[0])
    searcher.on_trial_complete("a", error=True)
    for number in (2, 3):
        alone = {name: searcher.suggest(f"{name}{number}")["pack"] for name in "bc"}
        assert {each.cells for each in alone.values()} == {(cell,) for cell in pack.cells}
        assert {each.trial for each in alone.values()} == {number}
        for name in alone:
            searcher.on_trial_complete(f"{name}{number}", error=True)
    assert searcher.suggest("d") == Searcher.FINISHED
    searcher.record_lost()
    rows = Results(places.results).read("s").set_index("cell_id")
    assert len(rows) == 2
    assert rows.loc[pack.cells[0].cell_id, "status"] == "ok"
    assert rows.loc[pack.cells[1].cell_id, "status"] == "failed"
    assert "the worker died 3 times on this cell" in str(rows.loc[pack.cells[1].cell_id, "error"])
