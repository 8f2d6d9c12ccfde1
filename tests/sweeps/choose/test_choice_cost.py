"""What a choice cost: regret and seconds, against numbers worked by hand."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from sweeps.choose.choice_cost import SecondsSpent, regret, saving
from tests.sweeps import builders as make
from tests.sweeps.builders import compared as row


def test_regret_is_what_val_missed_on_test() -> None:
    rows = make.table([row("a", 0, 0.9), row("a", 0, 0.8, test_retain_accuracy=0.95)])
    chosen = rows.iloc[0]
    assert regret(rows, chosen) == pytest.approx(0.05)
    assert regret(rows, rows.iloc[1]) == pytest.approx(0.0)


def test_a_generators_regret_is_read_by_the_judges_that_report() -> None:
    """Those of `val` choose: what they say of the others is nothing to it."""

    def generator(forget: float, retain: float, **more: Any) -> dict[str, Any]:
        accuracies: dict[str, Any] = {
            "forget_probability": forget,
            "retain_accuracy": retain,
            **more,
        }
        return row("a", 0, 0.9, task="generator", val_forget_probability=0.0, **accuracies)

    rows = make.table([generator(0.2, 0.9), generator(0.1, 0.9, val_retain_accuracy=0.1)])
    assert regret(rows, rows.iloc[0]) == pytest.approx(1.5 * 0.1)
    assert regret(rows, rows.iloc[1]) == pytest.approx(0.0)


def test_a_regret_among_candidates_is_the_rows_own_until_others_are_tried() -> None:
    tried = [row("a", 0, retain, eval_candidates="val") for retain in (0.9, 0.8)]
    rows = make.table([*tried, row("a", 0, 0.9, selection_regret=0.02, tuning_candidates=2)])
    assert regret(rows, rows.iloc[2]) == pytest.approx(0.02)
    more = pd.concat([rows, rows.iloc[:1]])
    assert regret(more, rows.iloc[2]) is None
    rows["selection_regret"] = np.nan  # of a method whose candidates would have to be trained again
    assert regret(rows, rows.iloc[2]) is None


def test_seconds_count_every_cell_that_was_tried() -> None:
    """Failed cells count as well, and so does every expert that was made."""
    cost: dict[str, Any] = {"unlearn_s": 1.0, "evaluate_s": 2.0, "needs_s": 5.0}
    cost |= {"oracle_s": 100.0, "wall_s": 9.0}
    tried = [row("ssd", 0, 0.9, **cost), row("ssd", 0, 0.8, **cost)]
    rows = make.table([*tried, row("scrub", 0, 0.7, **cost)])
    assert saving(rows, rows.iloc[0]) == SecondsSpent(1.0, 5.0 + 2 * 3.0, 100.0)
    broken: dict[str, Any] = {"status": "failed", "unlearn_s": np.nan}
    broken |= {"evaluate_s": np.nan, "needs_s": np.nan}
    rows = pd.concat([rows, make.table([row("ssd", 0, np.nan, **{**cost, **broken})])])
    assert saving(rows, rows.iloc[0]) == SecondsSpent(1.0, 5.0 + 2 * 3.0 + 9.0, 100.0)
    made: dict[str, Any] = {"train_expert_lr": 1e-5, "train_expert_schedule": "constant"}
    made |= {"train_expert_norms": "running"}
    tried = [
        row("task-arithmetic", 0, 0.9, **cost, **made, train_expert_steps=steps)
        for steps in (20, 20, 60)
    ]
    rows = make.table(tried)
    assert saving(rows, rows.iloc[0]) == SecondsSpent(1.0, 2 * 5.0 + 3 * 3.0, 100.0)
    made |= {"train_expert_steps": 20}
    tried = [
        row("sign-consensus", 0, 0.9, **{**cost, **made, "train_experts": n, "needs_s": 10.0 * n})
        for n in (3, 5)
    ]
    rows = make.table(tried)
    # Cells with three experts use the first three of the five: five were made in all.
    assert saving(rows, rows.iloc[0]) == SecondsSpent(1.0, 50.0 + 2 * 3.0, 100.0)
    assert saving(rows, rows.iloc[0]).saved == pytest.approx(0.44)
