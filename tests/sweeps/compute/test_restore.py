"""Rebuilding the weights of a row."""

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from sweeps.compute.restore import cell_from, weights_of
from tests.sweeps import builders as make
from unlearn.methods import METHODS, Unlearned


def test_weights_are_made_again_on_as_many_threads_as_the_first_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The number of threads decides the order of sums, and so the last bits."""

    def unlearn(*_: Any, **__: Any) -> Unlearned:
        return Unlearned({"threads": torch.tensor(torch.get_num_threads())})

    monkeypatch.setattr(METHODS["fine-tune"], "__call__", unlearn)
    before = torch.get_num_threads()
    cache: Any = SimpleNamespace(
        device="cpu",
        lending=nullcontext,
        store=SimpleNamespace(has=lambda kind, key: False),
        needs=lambda cell: {},
        splits=lambda *_: None,
        model=lambda recipe: None,
    )
    weights = weights_of(cache, make.cell(), pd.Series({"threads": before + 2}))
    assert weights["threads"] == before + 2
    assert torch.get_num_threads() == before


def test_a_row_that_is_older_than_a_setting_gives_back_its_cell() -> None:
    cell = make.cell()
    row = make.row(cell)
    for name in ("eval_second_oracle", "eval_referee", "train_judge_fade", "weight_decay"):
        del row[name]
    assert cell_from(pd.Series(row)) == cell
    nulls = {"eval_second_oracle": None, "train_judge_fade": np.nan, "objective": None}
    assert cell_from(pd.Series({**row, **nulls})) == cell
    asked = make.cell(eval={"second_oracle": True})
    assert cell_from(pd.Series(make.row(asked))) == asked
