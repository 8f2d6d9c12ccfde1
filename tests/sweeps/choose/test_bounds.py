"""Which chosen cells lie on a bound of their space, and where that is told."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from sweeps.choose.bounds import at_bounds, bound_of, ends_of, in_words
from sweeps.choose.choose import choose
from sweeps.report.claims import claims, markdown
from tests.sweeps import builders as make

ALPHA = {"alpha": (-10.0, 0.0)}


@pytest.mark.parametrize(
    ("alpha", "bound"),
    [(-9.985, ("alpha low",)), (-9.9, ("alpha low",)), (-9.89, ()), (-0.05, ("alpha high",))],
)
def test_a_value_within_a_hundredth_of_the_range_lies_on_its_bound(
    alpha: float, bound: tuple[str, ...]
) -> None:
    assert at_bounds({"alpha": alpha}, ALPHA) == bound


def test_a_range_of_powers_of_ten_is_measured_by_its_logarithm() -> None:
    """From 1e-4 to 1e-2 a hundredth is a factor of 1.047."""
    rates = {"lr": (1e-4, 1e-2)}
    assert at_bounds({"lr": 1.04e-4}, rates) == ("lr low",)
    assert at_bounds({"lr": 1.06e-4}, rates) == ()
    assert at_bounds({"lr": 9.6e-3}, rates) == ("lr high",)


def test_the_ends_are_those_of_the_grid_and_of_the_methods_search() -> None:
    grid = make.sweep(grid={"steps": [5, 7, 6], "lr": [1e-3], "optimizer": ["sgd", "adamw"]})
    assert ends_of(grid, "fine-tune") == {"steps": (5.0, 7.0)}  # one value has no ends
    search: dict[str, Any] = {"trials": 4, "space": {"alpha": [-10.0, 0.0]}}
    study = make.sweep(method="task-arithmetic", search=search, grid={"rho": [0.5, 0.9]})
    assert ends_of(study, "task-arithmetic") == ALPHA | {"rho": (0.5, 0.9)}


def scored(alpha: float, forget: float, **values: Any) -> dict[str, Any]:
    more = {"method": "task-arithmetic", "alpha": alpha, "steps": np.nan, "cell_id": str(alpha)}
    return make.scored(**more, val_forget_accuracy=forget, eval_attacks=[], **values)


NO_RECORD = (None, np.nan)  # as Parquet and as pandas give a missing list


@pytest.mark.parametrize("missing", NO_RECORD)
def test_a_row_without_a_record_lies_on_no_bound(missing: Any) -> None:
    """Of few values tried, many are the lowest or the highest: that says nothing of the range."""
    rows = [scored(-9.99, 0.0), scored(-5.0, 0.1), scored(-0.01, 0.5)]
    chosen = choose(make.table([{**row, "bound": missing} for row in rows]))
    assert chosen.row["alpha"] == -9.99
    assert chosen.bound == bound_of(chosen.row) == ()
    assert chosen.why.endswith("the test split was not looked at")


@pytest.mark.parametrize(
    ("recorded", "bound", "why"),
    [
        ([], (), "not looked at"),
        (["alpha low"], ("alpha low",), "not looked at; alpha lies at the low end of its range"),
    ],
)
def test_a_choice_says_what_its_row_records(
    recorded: list[str], bound: tuple[str, ...], why: str
) -> None:
    """The spec's range, which the values tried do not show."""
    record = np.array(recorded, dtype=object)
    rows = make.table([scored(-9.99, 0.0, bound=record), scored(-5.0, 0.1, bound=None)])
    chosen = choose(rows)
    assert chosen.bound == bound
    assert chosen.why.endswith(why)


def candidates_of_seeds(records: list[Any]) -> pd.DataFrame:
    """Per seed, a row that val chooses, with this record of bounds, and two other rows."""
    rows = []
    for seed, record in enumerate(records):
        for row in (scored(-9.99, 0.0, bound=record), scored(-5.0, 0.15), scored(-0.01, 0.5)):
            scores = {"test_forget_accuracy": 0.0, "test_retain_accuracy": 0.9}
            references = {f"{of}_{name}": 0.5 for of in ("original", "oracle") for name in scores}
            name = f"{row['cell_id']}{seed}"
            rows.append({**row, "seed": seed, "cell_id": name, **scores, **references})
    return make.table(rows)


def test_claims_count_the_choices_that_were_recorded_on_a_bound() -> None:
    """All three lie at the lowest value tried; one has no record, one is inside its range."""
    rows = candidates_of_seeds([np.array(["alpha low"], dtype=object), None, np.array([])])
    note = "task-arithmetic on cnn chose alpha at the low end of its range in 1 of 3"
    assert note in markdown(rows, ["test_retain_accuracy"])
    assert note in claims(rows)
    without = candidates_of_seeds([None, None, None])
    assert "end of its range" not in markdown(without, ["test_retain_accuracy"]) + claims(without)


def test_the_row_of_a_chosen_candidate_says_so(tmp_path: Path) -> None:
    sweep = make.sweep(
        method="task-arithmetic",
        grid={"alpha": [-10.0, -5.0, 0.0], "rho": [0.1, 0.5, 0.9]},
        eval={"candidates": "val"},
    )
    results = make.results(tmp_path)
    for cell in make.cells_of(sweep):
        knobs = make.knobs(cell)
        retain = 0.9 - 0.01 * abs(knobs["alpha"] + 10) - abs(knobs["rho"] - 0.5)
        make.write(results, cell, val_forget_accuracy=0.0, val_retain_accuracy=retain)
    (source,) = make.sources(tmp_path, sweep)
    (cell,) = source.take(9)
    assert source.tuning_of(cell).bound == ("alpha low",)


def test_words() -> None:
    text = "alpha lies at the low end of its range and rho lies at the high end of its range"
    assert in_words(("alpha low", "rho high")) == text
    assert in_words(()) == ""
