"""What a cell used of its GPU, for its row."""

import torch

GIB = 1 << 30


def synchronize() -> None:
    """Wait until the GPU has done what this process asked of it; without one, do nothing."""
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()


def gpu_busy() -> float | None:
    """Return the share of the last second or less in which the GPU computed, for any process.

    None without a GPU in use, and without the package that reads it (nvidia-ml-py).
    """
    if not torch.cuda.is_initialized():
        return None
    try:
        return torch.cuda.utilization() / 100
    except (ModuleNotFoundError, RuntimeError, AttributeError):  # no package, no driver's library
        return None


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
