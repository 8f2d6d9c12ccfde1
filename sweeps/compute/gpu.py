"""What a cell used of its GPU: for its row, and to find the share that a trial needs."""

from __future__ import annotations

import statistics
import threading
from dataclasses import dataclass

import torch

GIB = 1 << 30
LOOK_S = 0.1  # between two looks at how busy the GPU is
SPARE = 1.25  # of memory: other cells may take more than the one that was measured
CONTEXT_GIB = 1.0  # what CUDA and its libraries take in each process beside tensors
UNKNOWN_BUSY = 0.25  # where nothing tells how busy a GPU is
LEAST_BUSY = 0.01  # a look may miss all that a short cell computes
MOST_PER_GPU = 8  # trials that share a GPU


def synchronize() -> None:
    """Wait until the GPU has done what this process asked of it; without one, do nothing."""
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()


class BusyWatch:
    """Looks, beside what runs inside of `with`, at how busy the GPU is.

    device: `cuda`, or another where there is nothing to see
    """

    def __init__(self, device: str) -> None:
        self.seen: list[float] = []
        self._over = threading.Event()
        self._thread = (
            threading.Thread(target=self._look, daemon=True) if device == "cuda" else None
        )

    @property
    def share(self) -> float | None:
        """The mean share of time in which the GPU computed, for any process.

        None without a GPU, and without the package that reads it (nvidia-ml-py).
        """
        return statistics.fmean(self.seen) if self.seen else None

    def __enter__(self) -> BusyWatch:
        if self._thread is not None:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(LOOK_S):
            try:
                self.seen.append(torch.cuda.utilization() / 100)
            except (ModuleNotFoundError, RuntimeError, AttributeError):
                return  # no package, or no library of the driver


@dataclass(frozen=True)
class GpuNeeds:
    """The shares of its GPU that a cell filled, each in (0, 1].

    memory: with a quarter to spare
    time: in which the GPU computed for it
    """

    memory: float
    time: float

    @property
    def trials_by_memory(self) -> int:
        """How many trials with such cells the GPU's memory holds, at least 1, at most 8."""
        return max(1, min(MOST_PER_GPU, int(1 / self.memory + 1e-9)))

    @property
    def trials(self) -> int:
        """How many trials with such cells share a GPU.

        One more than fill its time, so that it computes while one of them loads or writes; no more
        than its memory holds.
        """
        return min(self.trials_by_memory, int(1 / self.time + 1e-9) + 1)


def needs_of(busy: float | None) -> GpuNeeds | None:
    """Return what this process, alone on its GPU, filled of it; None without a GPU in use.

    busy: as `BusyWatch` saw it since `watch_memory`; None where it saw nothing
    """
    if not torch.cuda.is_initialized():
        return None
    held = torch.cuda.max_memory_reserved()
    there = torch.cuda.get_device_properties(0).total_memory
    return needs_from(held / GIB, there / GIB, busy)


def needs_from(held_gib: float, there_gib: float, busy: float | None) -> GpuNeeds:
    """Return the shares that these readings make.

    held_gib: the most memory that the process held
    there_gib: memory of the GPU
    busy: share of time in which the GPU computed for it; None where unknown
    """
    memory = (SPARE * held_gib + CONTEXT_GIB) / there_gib
    time = UNKNOWN_BUSY if busy is None else max(busy, LEAST_BUSY)
    return GpuNeeds(min(1.0, memory), min(1.0, time))


def watch_memory() -> None:
    """Begin to measure what `memory_gib` returns."""
    if torch.cuda.is_initialized():
        torch.cuda.reset_peak_memory_stats()


def memory_gib() -> float | None:
    """Return the most GPU memory, GiB, that tensors of this process held since `watch_memory`.

    None without a GPU in use.
    """
    if not torch.cuda.is_initialized():
        return None
    return torch.cuda.max_memory_allocated() / GIB
