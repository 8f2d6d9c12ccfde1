"""What a cell used of its GPU: for its row, and to find the share that a trial needs."""

from __future__ import annotations

import statistics
import threading

import torch

GIB = 1 << 30
LOOK_S = 0.1  # between two looks at how busy the GPU is
SPARE = 1.25  # of memory: other cells may take more than the one that was measured
CONTEXT_GIB = 1.0  # what CUDA and its libraries take in each process beside tensors
UNKNOWN_BUSY = 0.25  # where nothing tells how busy a GPU is


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


def share_needed(busy: float | None) -> float | None:
    """Return the share of its GPU that this process would fill, alone, by memory or by time.

    busy: as `BusyWatch` saw it since `watch_memory`; None where it saw nothing

    None without a GPU in use.
    """
    if not torch.cuda.is_initialized():
        return None
    held = torch.cuda.max_memory_reserved()
    there = torch.cuda.get_device_properties(0).total_memory
    return share_of(held / GIB, there / GIB, busy)


def share_of(held_gib: float, there_gib: float, busy: float | None) -> float:
    """Return the larger of the shares of memory and of time, in (0, 1].

    held_gib: the most memory that the process held
    there_gib: memory of the GPU
    busy: share of time in which the GPU computed for it; None where unknown
    """
    by_memory = (SPARE * held_gib + CONTEXT_GIB) / there_gib
    by_time = UNKNOWN_BUSY if busy is None else busy
    return min(1.0, max(by_memory, by_time))


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
