"""Choosing a row: the Pareto front of val, and what breaks ties."""

import numpy as np
import pandas as pd
import pytest

from sweeps.choose.choose import best_scores, choose, pareto
from sweeps.compute.candidates import ValScores, val_scores
from tests.sweeps import builders as make
from unlearn.errors import BadInput


def table(values: list[tuple[float, float]]) -> pd.DataFrame:
    """Rows `0`, `1`, ... with these accuracies on val, (forget, retain)."""
    rows = []
    for number, (forget, retain) in enumerate(values):
        accuracies = {"val_forget_accuracy": forget, "val_retain_accuracy": retain}
        rows.append(make.scored(cell_id=str(number), **accuracies))
    return make.table(rows)


def test_pareto_front_by_hand_and_by_brute_force() -> None:
    values = [(0.0, 0.5), (0.1, 0.9), (0.1, 0.8), (0.5, 0.95), (0.0, 0.5), (1.0, 0.94)]
    assert pareto(table(values)).tolist() == [True, True, False, True, True, False]
    brute = [
        not any((f <= a and r >= b) and (f < a or r > b) for f, r in values) for a, b in values
    ]
    assert pareto(table(values)).tolist() == brute


def test_pareto_front_of_many_rows_equals_comparing_every_two() -> None:
    """With many ties; every tenth row has no scores: nothing dominates it."""
    draws = np.random.default_rng(0).integers(12, size=(200, 2)) / 12
    draws[::10, 1] = np.nan
    forget, retain = draws.T
    no_worse = (forget <= forget[:, None]) & (retain >= retain[:, None])
    better = (forget < forget[:, None]) | (retain > retain[:, None])
    dominated = (no_worse & better).any(axis=1)
    assert pareto(table([(f, r) for f, r in draws])).tolist() == (~dominated).tolist()


def test_the_best_score_of_a_method_is_of_rows_read_to_the_end() -> None:
    rows = table([(0.2, 0.9), (0.0, 0.7), (0.0, 0.9), (0.0, 1.0)])
    rows["method"] = ["ssd", "ssd", "ssd", "scrub"]
    rows["val_stopped"] = [False, False, True, True]
    assert best_scores(rows) == {"ssd": pytest.approx(0.7)}  # not .9 - .3, nor what stopped


def test_candidates_are_candidates_until_one_is_confirmed() -> None:
    rows = table([(0.0, 0.5), (0.1, 0.9), (0.1, 0.99), (0.0, 0.4)])
    rows["eval_candidates"], rows["val_stopped"] = "val", [False, False, True, False]
    assert choose(rows).row["cell_id"] == "1"  # what stopped shows a part of val, however good
    rows.loc[3, "eval_candidates"] = "full"
    assert choose(rows).row["cell_id"] == "3"


def test_of_cells_that_tie_the_one_is_chosen_that_was_attacked() -> None:
    """A sweep that ran again with attacks keeps its rows without attacks, with equal scores."""
    rows = table([(0.0, 0.9)] * 4)
    rows["eval_attacks"] = [[], ["lira"], ["lira", "linear-probe"], ["lira"]]
    assert choose(rows).row["cell_id"] == "2"
    assert choose(rows[rows["cell_id"] != "2"]).row["cell_id"] == "1"


def test_the_choice_reads_val_alone_and_is_on_the_front() -> None:
    rows = table([(0.0, 0.5), (0.1, 0.9), (0.5, 0.95)])
    rows["test_forget_accuracy"], rows["test_retain_accuracy"] = [0.0, 1.0, 0.0], [1.0, 0.0, 1.0]
    assert choose(rows).row["cell_id"] == "1"
    rows.loc[1, "status"] = "failed"
    assert choose(rows).row["cell_id"] == "0"
    with pytest.raises(BadInput, match="no finished cell"):
        choose(rows.assign(status="failed"))


def test_ties_fall_alike_however_the_cells_are_named() -> None:
    rows = table([(0.0, 0.5), (0.1, 0.9), (0.1, 0.9)])
    rows["alpha"], rows["rho"] = [-1.0, -2.0, -2.0], [0.5, 0.9, 0.7]
    for names in (["a", "b", "c"], ["c", "b", "a"], ["b", "c", "a"]):
        assert choose(rows.assign(cell_id=names)).row["rho"] == 0.7


def test_a_generator_must_not_draw_another_forgotten_class() -> None:
    """Row 0 swaps its forgotten classes: its own-label probability is 0, any class's is 1."""
    rows = table([(np.nan, 0.9), (np.nan, 0.9)])
    rows["val_forget_probability"] = [0.0, 0.1]
    assert choose(rows).row["cell_id"] == "0"
    rows["val_forget_any_probability"] = [1.0, 0.1]
    assert choose(rows).row["cell_id"] == "1"


def test_where_the_oracle_knows_the_forget_set_the_gap_to_it_is_chosen() -> None:
    """Row 0 answers every forgotten image wrong, row 1 as often right as the oracle, .95."""
    rows = table([(0.0, 0.9), (0.95, 0.9)])
    rows["train_forget_accuracy"] = [0.0, 0.95]
    rows["oracle_train_forget_accuracy"] = 0.95
    assert choose(rows).row["cell_id"] == "0"
    assert choose(rows.assign(subset="random 0.1")).row["cell_id"] == "1"
    drawn = rows.assign(subset="random 0.1").to_dict("records")
    assert val_scores(drawn[0]) == ValScores(0.95, 0.9)
    older = rows.assign(subset=np.nan).to_dict("records")
    assert val_scores(older[0]) == ValScores(0.0, 0.9)
