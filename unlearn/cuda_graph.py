"""Record a step's kernels as a CUDA graph, and clean up where that fails."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

import torch
from torch import Tensor

Losses = dict[str, Tensor]


class Graph(Protocol):
    """A recorded step that can be repeated."""

    def record(self, step: Callable[[], Losses], generators: list[torch.Generator]) -> Losses:
        """Record `step` without running it; return the tensors that every `replay` fills."""

    def replay(self) -> None:
        """Run what was recorded."""


class CudaGraph:
    """A step as a CUDA graph, recorded on the current stream, which must not be the default one."""

    def __init__(self) -> None:
        self.graph = torch.cuda.CUDAGraph()

    def record(self, step: Callable[[], Losses], generators: list[torch.Generator]) -> Losses:
        """Record `step`; where that fails, leave generators and allocator as they were."""
        device = torch.cuda.current_device()
        pool = torch.cuda.graph_pool_handle()
        clones = _clones([torch.cuda.default_generators[device], *generators])
        for generator in generators:
            self.graph.register_generator_state(generator)
        torch.cuda.synchronize()
        self.graph.capture_begin(pool=pool, capture_error_mode="thread_local")
        try:
            losses = step()
            self.graph.capture_end()
        except BaseException:
            self._give_up(device, pool)
            for generator, clone in clones:
                generator.graphsafe_set_state(clone)
            raise
        return losses

    def replay(self) -> None:
        """Launch the graph."""
        self.graph.replay()

    def _give_up(self, device: int, pool: Any) -> None:
        """End a failed capture. `capture_end` raises then, before it has told the allocator."""
        try:
            self.graph.capture_end()
        except RuntimeError:
            with suppress(RuntimeError, AttributeError):  # of torch, private: a name may go
                torch._C._cuda_endAllocateToPool(device, pool)
                torch._C._cuda_releasePool(device, pool)
        _failed.append(self.graph)
        torch.cuda.synchronize()


_Clone = tuple[torch.Generator, torch.Generator]
_failed: list[torch.cuda.CUDAGraph] = []  # the host's allocator may still ask a failed graph: kept


def _clones(generators: list[torch.Generator]) -> list[_Clone]:
    return [(generator, generator.clone_state()) for generator in generators]
