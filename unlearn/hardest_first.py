"""Find out whether models beat a score on a split, reading the images first that cost score.

The score of a model is retain accuracy - weight x forget accuracy: 1, less 1 / n_retain for each
retain image that it gets wrong, less weight / n_forget for each forget image that it still gets
right. Models that descend from one network fail on the same images. So two reference models read
the split once, and the images that cost them most are read first. For any further model the costs
seen so far bound its score from above, whatever the order. When the bound is no better than the
score to beat, the rest is not read. Nothing is estimated: a score above the bar is exact.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from unlearn.errors import require
from unlearn.splits import Images, Split

MIN_BATCH = 50
LOOKS = 50  # batches in a split; a look costs a sum over one batch


class HardestFirst:
    """Reads a split in the order of the costs that reference models expect, for many models.

    split: the images; both parts must hold some, else `BadInput`
    references: classifiers in eval mode, images (n, channels, height, width) -> logits
        (n, classes); each is called before the next is taken, so an iterator may reuse one network
    weight: of the forget accuracy in the score, at least 0
    """

    def __init__(self, split: Split, references: Sequence[Any], weight: float) -> None:
        self.sizes = len(split.forget), len(split.retain)
        require(
            min(self.sizes) > 0,
            f"a split needs forget and retain images, not {self.sizes[0]} and {self.sizes[1]}; "
            "check the forget set against the data set",
        )
        self.weight = weight
        images, is_forget = _joined(split)
        order = self._expected_costs(images, is_forget, references).argsort(descending=True)
        size = max(MIN_BATCH, len(images) // LOOKS)
        self.batches = [(images.take(at), is_forget[at]) for at in order.split(size)]

    def _expected_costs(
        self, images: Images, is_forget: Tensor, references: Sequence[Any]
    ) -> Tensor:
        """Return how much of the score the references expect each image to cost, (n,)."""
        forget_total, retain_total = self.sizes
        costs = torch.zeros(len(images), device=images.y.device)
        for model in references:
            right = _confidences(model, images)
            costs += torch.where(
                is_forget, right * self.weight / forget_total, (1 - right) / retain_total
            )
        return costs

    @torch.no_grad()
    def highest(self, model: Any, bar: float = -math.inf) -> float:
        """Return the model's score, or `bar` where that is at least as high."""
        forget_total, retain_total = self.sizes
        recognised, mistaken = 0, 0
        score = 1.0
        for images, is_forget in self.batches:
            right = model(images.pixels()).argmax(1) == images.y
            recognised += int((right & is_forget).sum())
            mistaken += int((~right & ~is_forget).sum())
            forget = recognised / forget_total
            retain = (retain_total - mistaken) / retain_total
            score = retain - self.weight * forget
            if score <= bar:  # further images can only lower it
                return bar
        return score


def _joined(split: Split) -> tuple[Images, Tensor]:
    """Return all images of a split, and a mask (n,) of those to forget."""
    x = torch.cat([split.forget.x, split.retain.x])
    y = torch.cat([split.forget.y, split.retain.y])
    return Images(x, y), torch.arange(len(y), device=y.device) < len(split.forget)


@torch.no_grad()
def _confidences(model: Any, images: Images) -> Tensor:
    """Return the probability that the model gives each image's own label, (n,)."""
    found = []
    for piece in images.pieces():
        probabilities = model(piece.pixels()).softmax(1)
        found.append(probabilities.gather(1, piece.y[:, None])[:, 0])
    return torch.cat(found)
