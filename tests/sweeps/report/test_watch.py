"""What `amnesia watch` shows: progress, and the best cell by val of every problem."""

import io
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from sweeps.report.watch import as_json, best_by_val, look, watch
from sweeps.rows.runs import RunRecord, write_record
from tests.sweeps import builders as make
from unlearn.errors import BadInput


def test_the_best_by_val_of_every_problem() -> None:
    def row(cell_id: str, forget: float, seed: int, status: str = "ok") -> dict[str, object]:
        return make.scored(
            cell_id=cell_id, val_forget_accuracy=forget, seed=seed, status=status, options="{}"
        )

    rows = make.table([row("a", 0.2, 0), row("b", 0.1, 0), row("c", 0.0, 1, "failed")])
    (best,) = best_by_val(rows.assign(eval_attacks=pd.Series([[], [], []])))
    assert (best.cell_id, best.forget, best.seed, best.cells) == ("b", [1], 0, 2)
    assert (best.val_forget, best.val_retain) == (0.1, 0.9)
    assert best_by_val(rows[rows["status"] == "failed"]) == ()


def test_a_random_share_is_a_problem_of_its_own(tmp_path: Path) -> None:
    results = make.results(tmp_path)
    known: dict[str, Any] = {"oracle_train_forget_accuracy": 0.9, "val_retain_accuracy": 0.9}
    for cell in make.cells(forget=[{"random": 0.1}, {"random": 0.2}], grid={"steps": [5, 6]}):
        gap = 0.1 if make.knobs(cell)["steps"] == 5 else 0.2
        make.write(results, cell, train_forget_accuracy=0.9 - gap, **known)
    (view,) = look(results)
    assert [(best.forget, best.subset) for best in view.best] == [
        ([], "random 0.1"),
        ([], "random 0.2"),
    ]
    assert [best.val_forget for best in view.best] == pytest.approx([0.1, 0.1])


def test_what_is_watched_is_one_document_or_text(tmp_path: Path) -> None:
    results = make.results(tmp_path)
    cells = make.cells(grid={"steps": [5, 6, 7]})
    make.write(results, cells[0], val_forget_accuracy=0.1, val_retain_accuracy=0.9, wall_s=1.0)
    make.write(results, cells[1], "failed", error="by hand")
    write_record(results, RunRecord("s", planned=3, done=0, slots=1, started_at=0.0))
    (seen,) = json.loads(as_json(look(results)))
    assert (seen["sweep"], seen["done"], seen["failed"], seen["left"]) == ("s", 1, 1, 1)
    assert [best["cell_id"] for best in seen["best"]] == [cells[0].cell_id]
    out = io.StringIO()
    watch(results, "s", out)
    assert out.getvalue().startswith("s: 1 done, 1 failed, 1 left, ")
    assert cells[0].cell_id in out.getvalue()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_is_refreshed_until_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = make.results(tmp_path)
    cell = make.cell()
    write_record(results, RunRecord("s", planned=1, done=0, slots=1, started_at=0.0))
    monkeypatch.setattr("time.sleep", lambda _: make.write(results, cell, "failed", error="e"))
    out = Terminal()
    watch(results, None, out)
    assert out.getvalue().count("\033[H") == 3  # once to clear, then two looks
    assert "s: 0 done, 0 failed, 1 left" in out.getvalue()
    assert "s: 0 done, 1 failed, 0 left" in out.getvalue()


def test_what_is_not_there_is_refused(tmp_path: Path) -> None:
    results = make.results(tmp_path)
    with pytest.raises(BadInput, match="no run and no rows"):
        look(results)
    make.write(results, make.cell())
    with pytest.raises(BadInput, match=r"no sweep 'other'.*known: s"):
        look(results, "other")
