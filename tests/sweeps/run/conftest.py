"""A stand-in for Ray without processes, so that tests see what `run` and `prepare` do."""

from typing import Any

import pytest
import ray
import torch
from ray import tune

from sweeps.compute import artifacts
from sweeps.run import prepare as preparing
from sweeps.run import run as running
from tests.sweeps.run.stand_ins import InPlace, Tuner


@pytest.fixture
def in_place(monkeypatch: pytest.MonkeyPatch) -> InPlace:
    """Run Ray's tasks in this process, on a node of one CPU; every artifact is a single zero."""
    stand_in = InPlace()
    monkeypatch.setattr(preparing, "ray", stand_in)
    monkeypatch.setattr(ray, "nodes", lambda: [{"Alive": True, "Resources": {"CPU": 1.0}}])
    monkeypatch.setattr(running, "check_data", lambda plan, data_root: None)
    for kind in artifacts.MAKERS:
        monkeypatch.setitem(artifacts.MAKERS, kind, zero)
    return stand_in


def zero(cache: Any, recipe: Any) -> Any:
    return {"w": torch.zeros(1)}, {}


@pytest.fixture
def tuner(in_place: InPlace, monkeypatch: pytest.MonkeyPatch) -> type[Tuner]:
    """A Tuner that does nothing, until a test sets `fitting`."""

    class Own(Tuner):
        pass

    monkeypatch.setattr(tune, "Tuner", Own)
    return Own
