"""Which chosen cells lie on a bound of their space, and where that is told."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from sweeps.choose.bounds import at_bounds, bound_of, ends_of, in_words, tried_ends
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


ROWS = [scored(-9.99, 0.0), scored(-5.0, 0.1), scored(-0.01, 0.5)]


def test_old_rows_lie_on_the_bounds_of_the_values_tried() -> None:
    rows = make.table([*ROWS, make.scored(steps=3.0, eval_attacks=[], val_forget_accuracy=1.0)])
    chosen = choose(rows)
    assert chosen.bound == ("alpha low",)
    assert chosen.why.endswith("not looked at; alpha lies at the low end of its range")
    assert tried_ends(rows[rows["method"] == "fine-tune"]) == {}


def test_a_row_that_was_written_with_its_bounds_keeps_them() -> None:
    """They are of the spec's range, which the values tried do not show."""
    rows = make.table([scored(-9.99, 0.0, bound=np.array([])), scored(-5.0, 0.1, bound=None)])
    assert choose(rows).bound == ()
    assert bound_of(rows.iloc[1], rows) == ("alpha high",)
    assert bound_of(pd.Series(scored(-1.0, 0.0, bound=np.nan)), rows.iloc[:1]) == ()


def test_claims_count_the_choices_on_a_bound() -> None:
    rows = []
    for seed in range(3):
        for row in (scored(-9.99, 0.1 * seed), scored(-5.0, 0.15), scored(-0.01, 0.5)):
            scores = {"test_forget_accuracy": 0.0, "test_retain_accuracy": 0.9}
            references = {f"{of}_{name}": 0.5 for of in ("original", "oracle") for name in scores}
            name = f"{row['cell_id']}{seed}"
            rows.append({**row, "seed": seed, "cell_id": name, **scores, **references})
    note = "task-arithmetic on cnn chose alpha at the low end of its range in 2 of 3"
    assert note in markdown(make.table(rows), ["test_retain_accuracy"])
    assert note in claims(make.table(rows))


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
