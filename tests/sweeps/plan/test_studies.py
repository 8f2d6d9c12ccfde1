"""Searches as Optuna studies: what optuna reads back from the file."""

from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import TrialState

from sweeps.plan.record import records_of
from sweeps.plan.studies import write_studies
from sweeps.rows.runs import write_record
from tests.sweeps import builders as make
from unlearn.errors import BadInput

SEARCH: dict[str, Any] = {
    "name": "ta",
    "method": "task-arithmetic",
    "search": {"trials": 4, "space": {"alpha": [-3.0, 0.0], "recalibrate": [False, True]}},
}


def written(folder: Path) -> tuple[Any, dict[str, Any]]:
    """Write four trials (two complete, one stopped, one failed); read the only study back."""
    sweep, results = make.sweep(**SEARCH), make.results(folder)
    plan = make.plan(folder, sweep)
    for record in records_of(plan, lambda resources: 1):
        write_record(results, record)
    cells = make.opened(plan)[0].take(4)
    read = [(0.0, 0.9, False), (0.2, 0.95, False), (0.5, 0.5, True)]
    for cell, (forget, retain, stopped) in zip(cells, read, strict=False):
        val: dict[str, Any] = {"val_forget_accuracy": forget, "val_retain_accuracy": retain}
        make.write(results, cell, sweep="ta", val_stopped=stopped, wall_s=2.0, **val)
    make.write(results, cells[3], "failed", sweep="ta", error="by hand")
    file = folder / "studies.db"
    (name,) = write_studies(results, None, str(file))
    study = optuna.load_study(study_name=name, storage=f"sqlite:///{file}")
    return study, {cell.cell_id: cell for cell in cells}


def test_a_study_holds_objectives_parameters_states_and_the_choice(tmp_path: Path) -> None:
    study, cells = written(tmp_path)
    assert study.study_name == "ta: cnn, forget 1, seed 0, task-arithmetic"
    assert [direction.name for direction in study.directions] == ["MINIMIZE", "MAXIMIZE"]
    assert study.metric_names == ["val_forget", "val_retain"]
    assert study.user_attrs["method"] == "task-arithmetic"
    states = [trial.state for trial in study.trials]
    failed = TrialState.FAIL
    assert states == [TrialState.COMPLETE, TrialState.COMPLETE, TrialState.PRUNED, failed]
    assert [trial.values for trial in study.trials[:2]] == [[0.0, 0.9], [0.2, 0.95]]
    assert [trial.user_attrs["chosen"] for trial in study.trials] == [True, False, False, False]
    assert study.trials[2].user_attrs["val_forget_read"] == 0.5
    assert study.trials[3].user_attrs["error"] == "by hand"
    for trial in study.trials:
        knobs = make.knobs(cells[trial.user_attrs["cell_id"]])
        assert trial.params == {name: knobs[name] for name in ("alpha", "recalibrate")}
    assert len(study.best_trials) == 2


def test_the_space_is_the_one_that_was_searched(tmp_path: Path) -> None:
    study, _ = written(tmp_path)
    space = study.trials[0].distributions
    assert space["alpha"] == FloatDistribution(-3.0, 0.0)
    assert space["recalibrate"] == CategoricalDistribution([False, True])


def test_a_grid_without_a_record_has_the_range_of_its_values(tmp_path: Path) -> None:
    results, file = make.results(tmp_path), tmp_path / "new" / "studies.db"
    sweep = make.sweep(grid={"steps": [5, 7], "lr": [1e-4, 1e-2]}, forget=[0, 1])
    for cell in make.cells_of(sweep):
        make.write(results, cell, val_forget_accuracy=0.0, val_retain_accuracy=0.9)
    for _ in range(2):  # the second replaces the first
        names = write_studies(results, "s", str(file))
    assert len(names) == 2 == len(optuna.get_all_study_names(f"sqlite:///{file}"))
    study = optuna.load_study(study_name=names[0], storage=f"sqlite:///{file}")
    assert len(study.trials) == 4
    assert study.trials[0].distributions["lr"] == FloatDistribution(1e-4, 1e-2, log=True)
    assert [path.name for path in file.parent.iterdir()] == ["studies.db"]


def test_where_nothing_varies_there_is_no_study(tmp_path: Path) -> None:
    results = make.results(tmp_path)
    make.write(results, make.cell(), val_forget_accuracy=0.0, val_retain_accuracy=0.9)
    with pytest.raises(BadInput, match="varies a knob"):
        write_studies(results, None, str(tmp_path / "studies.db"))
    assert not (tmp_path / "studies.db").exists()


def test_every_random_share_has_a_study(tmp_path: Path) -> None:
    results = make.results(tmp_path)
    read: dict[str, Any] = {"train_forget_accuracy": 0.8, "oracle_train_forget_accuracy": 0.9}
    for cell in make.cells(forget=[{"random": 0.1}, {"random": 0.2}], grid={"steps": [5, 6]}):
        make.write(results, cell, val_retain_accuracy=0.9, **read)
    names = write_studies(results, None, str(tmp_path / "studies.db"))
    assert names == [f"s: cnn, forget random {share}, seed 0, fine-tune" for share in (0.1, 0.2)]
