"""Watch a step that runs from Python: what it reads and draws, and what keeps it from a graph."""

import random
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from unlearn.cuda_graph import Losses
from unlearn.feeds import Feed, advancing, reading

SYNC = "called a synchronizing CUDA operation"  # torch's own words, in its debug mode


class _Inspection(TorchFunctionMode):
    """Note the generators that a step draws from, and the first function with a result on the host.

    What feeds do to fill their buffers does not count: a captured step does not repeat it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.generators: list[torch.Generator] = []
        self.on_host = ""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if not advancing():
            self._note_generator(kwargs.get("generator"))
            if isinstance(result, Tensor) and result.device.type == "cpu":
                self.on_host = self.on_host or getattr(func, "__name__", str(func))
        return result

    def _note_generator(self, generator: torch.Generator | None) -> None:
        known = any(generator is other for other in self.generators)
        if generator is not None and not known:
            self.generators.append(generator)


@dataclass(frozen=True)
class Seen:
    """What a step has shown that ran from Python.

    feeds: what it reads, in order
    generators: what it draws from
    obstacle: what in it cannot be captured, "" for nothing
    host_draws: whether the host's generators (`random`, NumPy) advanced in the meantime
    """

    feeds: list[Feed[Any]]
    generators: list[torch.Generator]
    obstacle: str
    host_draws: bool


def inspect_step(
    step: Callable[[], Losses], model: nn.Module, known: list[torch.Generator], cuda: bool
) -> tuple[Losses, Seen]:
    """Run `step` from Python and note what it does; `known` are generators that it draws from."""
    inspection, host, attributes = _Inspection(), _host_randomness(), _attributes(model)
    with _noticing_syncs(cuda) as syncs, inspection:
        losses, feeds = reading(step, known)
    obstacle = ""
    if syncs:
        obstacle = "the step reads a value of the device on the host"
    elif cuda and inspection.on_host:
        obstacle = f"the step computes on the host ({inspection.on_host})"
    elif attributes != _attributes(model):
        obstacle = "the network changes an attribute on the host"
    elif len({id(feed) for feed in feeds}) < len(feeds):
        obstacle = "the step takes two batches from one source"
    drawn = host != _host_randomness()
    return losses, Seen(feeds, inspection.generators, obstacle, drawn)


def _host_randomness() -> tuple[Any, ...]:
    state: Any = np.random.get_state(legacy=True)
    return random.getstate(), state[1].tobytes(), state[2]


def _attributes(model: nn.Module) -> list[dict[str, Any]]:
    """Return the numbers, flags and strings that the parts of `model` hold as attributes."""
    plain = (bool, int, float, str)
    return [
        {name: value for name, value in vars(part).items() if isinstance(value, plain)}
        for part in model.modules()
    ]


@contextmanager
def _noticing_syncs(cuda: bool) -> Iterator[list[str]]:
    """Collect torch's warnings about operations that wait for the device."""
    found: list[str] = []
    if not cuda:
        yield found
        return
    before = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            yield found
        finally:
            torch.cuda.set_sync_debug_mode(before)
            texts = [str(warning.message) for warning in caught]
            found += [text for text in texts if SYNC in text]
