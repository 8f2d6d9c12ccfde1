"""Reading a candidate only as long as it can still be chosen."""

import math
from dataclasses import dataclass
from typing import Any

import torch

from unlearn.errors import require
from unlearn.splits import Images, Split
from unlearn.streams import stream

DOUBT = math.log(1e9)  # a bound is wrong with a probability of at most 10^-9


@dataclass(frozen=True)
class Race:
    """Shares of right answers over the `images` that were read; `stopped`: the rest would not have helped."""

    forget: float
    retain: float
    images: int
    stopped: bool

    def score(self, weight: float) -> float:
        """retain - weight * forget."""
        return self.retain - weight * self.forget


@dataclass
class Tally:
    """Right answers to the first `read` of `total` images in random order.

    `most` and `least`: what the share of all may turn out to be. The right ones among the images read are
    hypergeometric; a share is left out where so few (so many) of them, or fewer (more), would have a probability of at
    most 10^-9. With all images read both are the share itself.
    """

    total: int
    right: int = 0
    read: int = 0

    @property
    def share(self) -> float:
        return self.right / self.read

    @property
    def most(self) -> float:
        return _most_right(self.total, self.read, self.right) / self.total

    @property
    def least(self) -> float:
        return (
            self.total - _most_right(self.total, self.read, self.read - self.right)
        ) / self.total


def _most_right(total: int, read: int, right: int) -> int:
    """The largest number of right ones among `total` with which `right` or fewer of `read` are likelier than 10^-9."""
    low, high = right, total - read + right  # all that were not read may be wrong, or right
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (
            (middle, high) if _log_tail(total, middle, read, right) > -DOUBT else (low, middle - 1)
        )
    return low


def _log_tail(total: int, of_all: int, read: int, right: int) -> float:
    """At least the logarithm of the probability of `right` or fewer right ones among `read` drawn from `total`, of
    which `of_all` are right; 0 where that many are not few. Further down each number is less likely than the one above
    by a factor that only falls, so all of them weigh less than a geometric series."""
    falls = right * (total - of_all - read + right) / ((of_all - right + 1) * (read - right + 1))
    if falls >= 1:
        return 0.0
    return (
        _log_choose(of_all, right)
        + _log_choose(total - of_all, read - right)
        - _log_choose(total, read)
        - math.log1p(-falls)
    )


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


class ValReader:
    """The images of a split in a fixed random order: some kept ones, the forgotten, the rest of the kept; `batch` at a
    time, else a 25th of all and at least 100, so that looking costs little beside reading."""

    def __init__(self, split: Split, batch: int | None = None) -> None:
        batch = batch or max(100, (len(split.forget) + len(split.retain)) // 25)
        self.forget, self.retain = _parts(split.forget, batch), _parts(split.retain, batch)
        self.sizes = len(split.forget), len(split.retain)
        require(
            min(self.sizes) > 0,
            f"a split needs forgotten and kept images, not {self.sizes[0]} and {self.sizes[1]}",
        )

    @torch.no_grad()
    def run(self, model: Any, weight: float, bar: float = -math.inf) -> Race:
        """Read a batch of either part, then go on until retain - weight * forget (accuracies) cannot reach `bar`. What
        stops could therefore not have been chosen over the candidate that set the bar, but for a probability of at
        most 2e-9 a look. (That is over random orders, so of candidates that were named before any was read: a grid's.)
        """
        forget, retain = map(Tally, self.sizes)
        turns = [retain] + [forget] * len(self.forget) + [retain] * (len(self.retain) - 1)
        parts = self.retain[:1] + self.forget + self.retain[1:]
        for tally, part in zip(turns, parts, strict=True):
            tally.right += int((model(part.pixels()).argmax(1) == part.y).sum())
            tally.read += len(part)
            if forget.read and retain.most - weight * forget.least < bar:
                break
        read = forget.read + retain.read
        return Race(forget.share, retain.share, read, read < sum(self.sizes))


def _parts(images: Images, batch: int) -> list[Images]:
    """The images in random order, `batch` at a time."""
    order = torch.randperm(len(images), generator=stream(0, "race")).to(images.y.device)
    return [images.take(some) for some in order.split(batch)]
