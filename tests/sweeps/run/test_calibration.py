"""The calibration file follows the rows that a run folds."""

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from sweeps.plan.timings import CALIBRATION, Kind, Rates, read_calibration
from sweeps.rows.fold import Folder
from sweeps.run.calibration import Calibration
from tests.sweeps import builders as make

CELL = make.cell(unlearn={"steps": 10, "batch": 64})
STEP = Kind("unlearn fine-tune", "mnist5k", "cnn", 64, "cpu")
SECONDS: dict[str, Any] = {"device": "cpu", "unlearn_s": 5.0, "wall_s": 7.0}


def test_what_folded_rows_took_is_written_now_and_then_and_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, results = make.store(tmp_path), make.results(tmp_path)
    monkeypatch.setattr("sweeps.run.calibration.EVERY_S", 1000.0)
    with closing(Calibration(store)) as calibration:
        folder = Folder(results, "s", calibration.hear)
        make.write(results, CELL, **SECONDS)
        folder.fold()
        assert read_calibration(store).of(STEP) is None
        monkeypatch.setattr("sweeps.run.calibration.EVERY_S", 0.0)
        other = make.cell(unlearn={"steps": 10, "batch": 64}, seeds=[1])
        make.write(results, other, **{**SECONDS, "unlearn_s": 6.0})
        folder.fold()
        assert read_calibration(store).seconds[STEP] == [0.5, 0.6]
        monkeypatch.setattr("sweeps.run.calibration.EVERY_S", 1000.0)
        failed = make.cell(unlearn={"steps": 10, "batch": 64}, seeds=[2])
        make.write(results, failed, status="failed", error="no", device="cpu", unlearn_s=9.0)
        folder.fold()
    assert read_calibration(store).seconds[STEP] == [0.5, 0.6]


def test_a_file_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    store = make.store(tmp_path)
    (tmp_path / "store" / CALIBRATION).mkdir(parents=True)
    with closing(Calibration(store)) as calibration:
        calibration.hear([{"cell_id": "a", "status": "failed"}])
        calibration.fresh.note(STEP, 1.0)
    assert calibration.fresh == Rates()  # it was tried, and what could not be written is dropped
    assert (tmp_path / "store" / CALIBRATION).is_dir()
