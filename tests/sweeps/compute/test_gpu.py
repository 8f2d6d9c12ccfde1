"""What is read of a GPU; here without one, so the numbers are given."""

import time
from typing import Any

import pytest
import torch

from sweeps.compute.gpu import BusyWatch, share_needed, share_of


@pytest.mark.parametrize(
    ("held", "busy", "share"),
    [
        (7.2, 0.05, 0.125),  # 1.25 * 7.2 + 1 of 80 GiB
        (7.2, 0.9, 0.9),
        (7.2, None, 0.25),  # time is unknown: a quarter
        (70.0, 0.1, 1.0),  # 88.5 GiB would be wanted
    ],
)
def test_a_share_is_the_larger_of_memory_and_time(
    held: float, busy: float | None, share: float
) -> None:
    assert share_of(held, 80.0, busy) == pytest.approx(share)


def test_without_a_gpu_there_is_nothing_to_see() -> None:
    with BusyWatch("cpu") as busy:
        time.sleep(0.01)
    assert busy.share is None
    assert share_needed(busy.share) is None


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
