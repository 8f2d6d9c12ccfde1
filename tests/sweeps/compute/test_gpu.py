"""What is read of a GPU; here without one, so the numbers are given."""

import time
from typing import Any

import pytest
import torch

from sweeps.compute.gpu import BusyWatch, needs_from, needs_of


@pytest.mark.parametrize(
    ("held", "busy", "trials", "by_memory"),
    [
        (7.2, 0.05, 8, 8),  # 1.25 * 7.2 + 1 GiB are an eighth of 80, its time would allow 21
        (7.2, 0.3, 4, 8),
        (7.2, 0.9, 2, 8),
        (7.2, 0.0, 8, 8),  # no look met it
        (7.2, None, 5, 8),  # time is unknown: a quarter
        (30.0, 0.3, 2, 2),  # 38.5 GiB
        (70.0, 0.1, 1, 1),  # 88.5 GiB would be wanted
    ],
)
def test_as_many_trials_share_a_gpu_as_its_memory_holds_and_one_more_than_fill_its_time(
    held: float, busy: float | None, trials: int, by_memory: int
) -> None:
    needs = needs_from(held, 80.0, busy)
    assert (needs.trials, needs.trials_by_memory) == (trials, by_memory)


def test_without_a_gpu_there_is_nothing_to_see() -> None:
    with BusyWatch("cpu") as busy:
        time.sleep(0.01)
    assert busy.share is None
    assert needs_of(busy.share) is None


def test_the_busy_share_is_a_mean_over_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The GPU computes in one look of two; after the block nobody looks."""
    looks: list[int] = []

    def utilization(*_: Any) -> int:
        looks.append(100 if len(looks) % 2 == 0 else 0)
        return looks[-1]

    monkeypatch.setattr(torch.cuda, "utilization", utilization)
    monkeypatch.setattr("sweeps.compute.gpu.LOOK_S", 0.001)
    with BusyWatch("cuda") as busy:
        while len(looks) < 100:
            time.sleep(0.001)
    seen = len(looks)
    assert busy.share == pytest.approx(0.5, abs=0.01)
    time.sleep(0.02)
    assert len(looks) == seen


def test_where_the_package_is_missing_the_busy_share_is_unknown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks: list[bool] = []

    def utilization(*_: Any) -> int:
        looks.append(True)
        raise ModuleNotFoundError("nvidia-ml-py")

    monkeypatch.setattr(torch.cuda, "utilization", utilization)
    monkeypatch.setattr("sweeps.compute.gpu.LOOK_S", 0.001)
    with BusyWatch("cuda") as busy:
        while not looks:
            time.sleep(0.001)
    assert (busy.share, len(looks)) == (None, 1)
