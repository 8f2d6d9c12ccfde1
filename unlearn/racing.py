"""Reading a candidate on val only as long as it can still be chosen."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unlearn.data import Images, Part
from unlearn.streams import stream


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
        cannot reach `bar` even if every image left were answered rightly. What stops could therefore not have been
        chosen over the candidate that set the bar."""
        forget = sum(_right(model, part) for part in _parts(self.forget, self.batch)) / len(self.forget)
        right = read = 0
        for part in _parts(self.retain, self.batch):
            right, read = right + _right(model, part), read + len(part)
            most = (right + len(self.retain) - read) / len(self.retain) - weight * forget
            if most < bar:
                break
        return Race(forget, right / read, len(self.forget) + read, read < len(self.retain))


def _parts(images: Images, batch: int) -> list[Images]:
    pairs = zip(images.x.split(batch), images.y.split(batch), strict=True)
    return [Images(x, y) for x, y in pairs]


def _right(model: Any, images: Images) -> int:
    answers: Tensor = model(images.x.float() / 255).argmax(1)
    return int((answers == images.y).sum())
