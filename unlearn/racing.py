"""Reading a candidate on val only as long as it can still be chosen."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unlearn.data import Images, Part
from unlearn.streams import stream

DOUBT = math.log(1e9)  # a look stops a candidate wrongly with a probability of at most 10^-9


@dataclass(frozen=True)
class Race:
    """Shares of right answers over the `images` of val that were read; `stopped`: the rest would not have helped."""

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
        over the candidate that set the bar, but for a probability of at most 10^-9 a look. (That is over random orders
        of the kept images, so of candidates that were named before any was read: a grid's.)"""
        forget = sum(_right(model, part) for part in _parts(self.forget, self.batch)) / len(self.forget)
        right = read = 0
        for part in _parts(self.retain, self.batch):
            right, read = right + _right(model, part), read + len(part)
            if most(right, read, len(self.retain)) - weight * forget < bar:
                break
        return Race(forget, right / read, len(self.forget) + read, read < len(self.retain))


def most(right: int, read: int, total: int) -> float:
    """The largest share of all `total` images that may turn out right when `right` of `read` random ones were: with
    every image left, or within Hoeffding's bound for draws without replacement (Serfling 1974; arXiv:1309.4029) of the
    share read, which a larger share escapes with a probability of at most 10^-9."""
    width = math.sqrt((1 - (read - 1) / total) * DOUBT / (2 * read))
    return min((right + total - read) / total, right / read + width)


def _parts(images: Images, batch: int) -> list[Images]:
    pairs = zip(images.x.split(batch), images.y.split(batch), strict=True)
    return [Images(x, y) for x, y in pairs]


def _right(model: Any, images: Images) -> int:
    answers: Tensor = model(images.x.float() / 255).argmax(1)
    return int((answers == images.y).sum())
