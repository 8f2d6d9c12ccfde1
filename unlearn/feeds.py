"""What a training step takes from the host: the batch's indices, numbers that change, a branch.

A captured step (see `unlearn.capture`) repeats its kernels and runs no Python. What changes from
step to step must therefore reach it through a buffer that is filled before each repetition. A
`Feed` is such an input: `next(feed)` gives the item of this step, whether the step runs as Python
or is being captured.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import Enum
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from unlearn.errors import require

Item = TypeVar("Item")


class StepChange(Enum):
    """How the next step's use of a feed compares with the last step's."""

    SAME = "same"  # the same operations on a refilled buffer
    ODD = "odd"  # this one step does more, the step after it is as before
    NEW = "new"  # this and later steps do something else


class _Now(threading.local):
    """The step that this thread runs.

    read: the feeds it has read, None where nobody asks
    capturing: whether it is being captured
    advancing: whether a feed is filling its buffers
    states: the states of generators, by id, when the step began
    """

    def __init__(self) -> None:
        self.read: list[Feed[Any]] | None = None
        self.capturing = False
        self.advancing = False
        self.states: dict[int, Tensor] = {}


_now = _Now()


def advancing() -> bool:
    """Return whether this thread is filling a feed's buffers, which no capture repeats."""
    return _now.advancing


class Feed(Iterator[Item], Generic[Item]):
    """An input of a step, one item per step. On a CUDA device its buffers keep their address."""

    def __next__(self) -> Item:
        if not _now.capturing:
            self._move_on()
        if _now.read is not None:
            _now.read.append(self)
        return self.item()

    def _move_on(self) -> None:
        _now.advancing = True
        try:
            self.advance()
        finally:
            _now.advancing = False

    def upcoming(self) -> StepChange:
        """Return how the next step differs from the last one."""
        return StepChange.SAME

    def advance(self) -> None:
        """Fill the buffers with the next step's item; never runs inside a capture."""
        raise TypeError(f"{type(self).__name__} must define advance")

    def item(self) -> Item:
        """Return the item in the buffers; what this launches may be captured."""
        raise TypeError(f"{type(self).__name__} must define item")


def reading(
    step: Callable[[], Item], generators: Iterable[torch.Generator] = (), capturing: bool = False
) -> tuple[Item, list[Feed[Any]]]:
    """Run `step`; return its result and the feeds that it read, in order.

    generators: those that the step may draw from, as far as they are known
    capturing: whether feeds keep their items instead of taking the next ones
    """
    read: list[Feed[Any]] = []
    _now.read, _now.capturing = read, capturing
    _now.states = {id(generator): generator.get_state() for generator in generators}
    try:
        return step(), read
    finally:
        _now.read, _now.capturing, _now.states = None, False, {}


class Batches(Feed[tuple[Tensor, Tensor]]):
    """Shuffled batches without end: see `unlearn.splits.Images.batches`.

    The order of an epoch is drawn when its first batch is asked for. Where a step draws other
    numbers before that, the step is `StepChange.ODD`, so that all draws keep their order.

    x: uint8 (n, channels, height, width)
    y: int64 (n,)
    size: images per batch; n where there are fewer
    generator: draws the order
    """

    def __init__(self, x: Tensor, y: Tensor, size: int, generator: torch.Generator) -> None:
        self.x, self.y, self.generator = x, y, generator
        self.size = min(size, len(y))
        self.order = y[:0]
        self.start = 0
        self.index: Tensor | None = None
        self.first = (
            False  # whether a step draws nothing from the generator before it asks for a batch
        )

    def _epoch_ends(self) -> bool:
        return self.start + self.size > len(self.order)

    def upcoming(self) -> StepChange:
        return StepChange.ODD if self._epoch_ends() and not self.first else StepChange.SAME

    def next_index(self) -> Tensor:
        """Return where the next batch's images stand (size,); draw the order of a new epoch."""
        require(len(self.y) > 0, "no images to train on; check the forget set against the data set")
        if _now.read is not None:
            self.first = self._nothing_drawn()
        if self._epoch_ends():
            device = self.generator.device
            drawn = torch.randperm(len(self.y), generator=self.generator, device=device)
            self.order, self.start = drawn.to(self.y.device), 0
        self.start += self.size
        return self.order[self.start - self.size : self.start]

    def advance(self) -> None:
        chosen = self.next_index()
        if not chosen.is_cuda:
            self.index = chosen
        elif self.index is None:
            self.index = chosen.clone()
        else:
            self.index.copy_(chosen)

    def _nothing_drawn(self) -> bool:
        """Return whether this step has drawn nothing from the generator yet.

        A generator that the step is not known to draw from has no state noted.
        """
        began = _now.states.get(id(self.generator))
        return began is None or torch.equal(began, self.generator.get_state())

    def item(self) -> tuple[Tensor, Tensor]:
        return self.x[self.index].float() / 255, self.y[self.index]


class Numbers(Feed[tuple[Any, ...]]):
    """Numbers that change every step: floats on a CPU, float32 tensors () elsewhere.

    values: a tuple of numbers per step
    device: where the step runs
    held: whether items are tensors; None for the device's own way
    """

    def __init__(
        self, values: Iterable[Sequence[float]], device: torch.device, held: bool | None = None
    ) -> None:
        self.values, self.device = iter(values), device
        self.held = device.type != "cpu" if held is None else held
        self.numbers: Sequence[float] = ()
        self.buffers: tuple[Tensor, ...] = ()

    def advance(self) -> None:
        self.numbers = next(self.values)
        if not self.held:
            return
        if not self.buffers:
            self.buffers = tuple(torch.zeros((), device=self.device) for _ in self.numbers)
        for buffer, number in zip(self.buffers, self.numbers, strict=True):
            buffer.fill_(number)

    def item(self) -> tuple[Any, ...]:
        return self.buffers if self.held else tuple(self.numbers)


class Phases(Feed[Item]):
    """Host values that stay for many steps, such as whether a term takes part.

    A change asks for a new capture. After the last of `values`, that one stays.
    """

    def __init__(self, values: Iterable[Item]) -> None:
        self.values = iter(values)
        self.now: list[Item] = []
        self.later = [next(self.values)]

    def upcoming(self) -> StepChange:
        return StepChange.SAME if self.later == self.now else StepChange.NEW

    def advance(self) -> None:
        self.now = self.later
        self.later = [next(self.values, self.now[0])]

    def item(self) -> Item:
        return self.now[0]
