"""Learning rate and momentum per step, as torch's schedules set them, without torch's optimizers.

torch imports its compiler with the first optimizer, which takes seconds in every process.
"""

import math
from collections.abc import Callable, Iterator
from itertools import count

Rate = tuple[float, float]  # learning rate; momentum (AdamW: beta 1)

PEAK_AT = 0.2  # share of a one-cycle run at which the learning rate is highest
START, END = 25.0, 1e4  # one-cycle begins at lr / START and ends at lr / (START END)
MOST, LEAST = 0.95, 0.85  # momentum of one-cycle, which falls while the learning rate rises
MOMENTUM = 0.9


def one_cycle_length(steps: int) -> int:
    """Return over how many steps a one-cycle schedule of a run is laid; torch divides by 0 at 5."""
    return max(steps + 1, 6)


def _anneal(start: float, end: float, share: float) -> float:
    """Go from `start` to `end` along a half cosine."""
    return end + (start - end) / 2 * (1 + math.cos(math.pi * share))


def one_cycle(steps: int, lr: float) -> Iterator[Rate]:
    """Yield what `torch.optim.lr_scheduler.OneCycleLR` sets (arXiv:1708.07120)."""
    total = one_cycle_length(steps)
    peak, last = PEAK_AT * total - 1, total - 1
    for step in range(total):
        if step <= peak:
            share = step / peak
            yield _anneal(lr / START, lr, share), _anneal(MOST, LEAST, share)
        else:
            share = (step - peak) / (last - peak)
            yield _anneal(lr, lr / START / END, share), _anneal(LEAST, MOST, share)


def cosine(steps: int, lr: float) -> Iterator[Rate]:
    """Yield what `torch.optim.lr_scheduler.CosineAnnealingLR` sets (arXiv:1608.03983)."""
    for step in count():
        yield _anneal(lr, 0.0, step / steps), MOMENTUM


def constant(steps: int, lr: float) -> Iterator[Rate]:
    """Yield the same rate at every step."""
    while True:
        yield lr, MOMENTUM


RATES: dict[str, Callable[[int, float], Iterator[Rate]]] = {
    "one-cycle": one_cycle,
    "cosine": cosine,
    "constant": constant,
}
