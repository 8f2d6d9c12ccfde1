"""What a cell used of its GPU, and whether the GPU had too little memory for it."""

from __future__ import annotations

import statistics
import threading

import torch

GIB = 1 << 30
LOOK_S = 0.1  # between two looks at how busy the GPU is
NO_MEMORY = ("out of memory", "ALLOC_FAILED")  # in messages of torch and of CUDA's libraries


class Crowded(Exception):
    """A GPU that several trials share has too little memory for a cell."""


def lacks_memory(error: str | None) -> bool:
    """Whether an error of a row says that a GPU had too little memory."""
    return error is not None and any(text in error for text in NO_MEMORY)


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
