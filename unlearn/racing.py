"""Reading a candidate on val only as long as it can still be chosen."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unlearn.data import Part
from unlearn.streams import stream

DOUBT = math.log(1e9)  # a look at a candidate stops it wrongly once in 10^9, over the random order of the images


@dataclass(frozen=True)
class Race:
    """Shares of right answers over the `images` of val that were read; `stopped`: the rest could not have helped."""

    forget: float
    retain: float
    images: int
    stopped: bool


class Racecourse:
    """The val images of one forget set, forgotten ones first, kept ones in a fixed random order."""

    def __init__(self, val: Part, batch: int = 100) -> None:
        device = val.retain.y.device
        order = torch.randperm(len(val.retain), generator=stream(0, "race")).to(device)
        self.forget, self.retain, self.batch = val.forget, val.retain.take(order), batch

    @torch.no_grad()
    def run(self, model: Any, weight: float, bar: float = -math.inf) -> Race:
        """Read all forgotten images and a first batch of kept ones; go on until retain - weight * forget (accuracies)
        cannot reach `bar`, with the `most` that retain may come to. What stops could therefore not have been chosen
        over the candidate that set the bar, but for one look in 10^9."""
        forget = sum(_right(model, *part) for part in self.forget.parts(self.batch)) / len(self.forget)
        right = read = 0
        for x, y in self.retain.parts(self.batch):
            right, read = right + _right(model, x, y), read + len(y)
            if most(right, read, len(self.retain)) - weight * forget < bar:
                break
        return Race(forget, right / read, len(self.forget) + read, read < len(self.retain))


def most(right: int, read: int, total: int) -> float:
    """The largest share of all `total` images that may turn out right: with every image left, or within Hoeffding's
    bound for draws without replacement of the share read (Serfling 1974; arXiv:1309.4029)."""
    width = math.sqrt((1 - (read - 1) / total) * DOUBT / (2 * read))
    return min((right + total - read) / total, right / read + width)


def _right(model: Any, x: Tensor, y: Tensor) -> int:
    return int((model(x).argmax(1) == y).sum())
