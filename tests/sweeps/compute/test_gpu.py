"""What is read of a GPU; here without one, so the numbers are given."""

import time
from typing import Any

import pytest
import torch

from sweeps.compute.gpu import BusyWatch, lacks_memory


@pytest.mark.parametrize(
    ("error", "lacks"),
    [
        ("OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB (linear.py:5)", True),
        ("no lira: RuntimeError: CUDA error: out of memory (a.py:1)", True),
        ("RuntimeError: CUDA error: CUBLAS_STATUS_ALLOC_FAILED (a.py:1)", True),
        ("NotFinite: the loss is nan (descend.py:9)", False),
        (None, False),
    ],
)
def test_a_rows_error_tells_whether_memory_lacked(error: str | None, lacks: bool) -> None:
    assert lacks_memory(error) is lacks


def test_without_a_gpu_there_is_nothing_to_see() -> None:
    with BusyWatch("cpu") as busy:
        time.sleep(0.01)
    assert busy.share is None


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
