"""Rebuilding the weights of a row."""

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import torch

from sweeps.compute.restore import weights_of
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
