"""Stop reading val for a candidate as soon as it can no longer be chosen.

Candidates are compared by their score on val: retain accuracy - weight x forget accuracy. Reading
all of val for every candidate costs more than making the candidates does. So the images of val are
put in random order once, and read in batches. After each batch the correct answers so far bound
both accuracies on all of val, and with them the score. When even the upper bound of the score lies
below the best score of another candidate (the bar), the rest is not read.

This is sequential testing with sampling without replacement: among `read` images drawn from `total`
images of which `c` are answered correctly, the number of correct answers follows the hypergeometric
distribution (total, c, read). A count `c` is ruled out when a result as far from what it predicts
as the one seen has a probability of at most 1e-9 under it. The bounds are the largest and the
smallest count that is not ruled out.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from unlearn.errors import require
from unlearn.splits import Images, Split
from unlearn.streams import stream

MAX_ERROR = 1e-9  # probability that one bound, at one look, is wrong
LOG_MAX_ERROR = math.log(MAX_ERROR)
MIN_BATCH = 100
LOOKS = 25  # batches in a split; so few that computing the bounds costs little beside reading


@dataclass(frozen=True)
class ValAccuracies:
    """Accuracies of one candidate over the images that were read.

    forget: accuracy on the forget images that were read, in [0, 1]
    retain: accuracy on the retain images that were read, in [0, 1]
    images: how many images were read, of both parts
    stopped: reading stopped early, because the candidate could no longer reach the bar
    """

    forget: float
    retain: float
    images: int
    stopped: bool

    def score(self, weight: float) -> float:
        """Return retain - weight * forget."""
        return self.retain - weight * self.forget


@dataclass
class RunningAccuracy:
    """Accuracy over the first `read` of `total` images in random order, and its bounds over all.

    total: images in this part of the split
    correct: correct answers among the images read
    read: images read

    Each bound is wrong with a probability of at most 1e-9 over the random order. When all images
    are read, both bounds are the accuracy itself.
    """

    total: int
    correct: int = 0
    read: int = 0

    def add(self, correct: int, read: int) -> None:
        """Count the correct answers to one more batch of `read` images."""
        self.correct += correct
        self.read += read

    @property
    def accuracy(self) -> float:
        """Accuracy over the images read, in [0, 1]."""
        return self.correct / self.read

    @property
    def upper_bound(self) -> float:
        """The largest accuracy over all images that the images read do not rule out."""
        return max_correct(self.total, self.read, self.correct) / self.total

    @property
    def lower_bound(self) -> float:
        """The smallest accuracy over all images that the images read do not rule out."""
        wrong = self.read - self.correct
        max_wrong = max_correct(self.total, self.read, wrong)  # the same bound, for wrong answers
        return (self.total - max_wrong) / self.total


def max_correct(total: int, read: int, correct: int) -> int:
    """Bound the correct answers among all `total` images from above, given `correct` of `read`.

    Returns the largest count under which the probability of `correct` or fewer correct answers
    among `read` images, as `log_tail_bound` bounds it, is above 1e-9. The search bisects, because
    that probability falls as the count rises.
    """
    low = correct  # every image that was not read is answered wrongly
    high = total - (read - correct)  # every image that was not read is answered correctly
    while low < high:
        middle = (low + high + 1) // 2
        if log_tail_bound(total, middle, read, correct) > LOG_MAX_ERROR:
            low = middle
        else:
            high = middle - 1
    return low


def log_tail_bound(total: int, all_correct: int, read: int, correct: int) -> float:
    """Bound log P(X <= correct) from above, for X hypergeometric (total, all_correct, read).

    With p(k) = P(X = k), the ratio p(k - 1) / p(k) only falls as k falls. So the terms below
    p(correct) sum to less than a geometric series with the first ratio r:
    P(X <= correct) <= p(correct) / (1 - r). Returns 0 (probability 1) where r >= 1: `correct` then
    lies above the mode, and the series does not converge.
    """
    wrong = read - correct
    all_wrong = total - all_correct
    ratio = correct * (all_wrong - wrong) / ((all_correct - correct + 1) * (wrong + 1))
    if ratio >= 1:
        return 0.0
    log_ways = _log_choose(all_correct, correct) + _log_choose(all_wrong, wrong)
    log_probability = log_ways - _log_choose(total, read)
    return log_probability - math.log1p(-ratio)


def _log_choose(n: int, k: int) -> float:
    """Logarithm of the binomial coefficient."""
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


class ValReader:
    """Reads a split in one fixed random order, a batch at a time, for any number of candidates.

    The order is a batch of retain images, all forget images, then the rest of the retain images.

    split: the images; both parts must hold some, else `BadInput`
    batch: images between two looks at the bounds; None for a 25th of the split, at least 100
    """

    def __init__(self, split: Split, batch: int | None = None) -> None:
        forget_images, retain_images = len(split.forget), len(split.retain)
        require(
            min(forget_images, retain_images) > 0,
            f"a split needs forget and retain images, not {forget_images} and {retain_images}; "
            "check the forget set against the data set",
        )
        self.sizes = forget_images, retain_images
        size = batch or max(MIN_BATCH, (forget_images + retain_images) // LOOKS)
        self.forget = _shuffled_batches(split.forget, size)
        self.retain = _shuffled_batches(split.retain, size)

    @torch.no_grad()
    def run(self, model: Any, weight: float, bar: float = -math.inf) -> ValAccuracies:
        """Read until retain - weight * forget cannot reach `bar` any more, or to the end.

        A candidate that is stopped could not have been chosen over the one that set the bar, but
        for a probability of at most 2e-9 per look: a wrong bound on either accuracy. That is a
        probability over random orders, so it holds for candidates that are named before any image
        is read, as those of a grid are.

        model: classifier in eval mode, images (n, channels, height, width) -> logits (n, classes)
        weight: weight of the forget accuracy in the score, at least 0
        bar: score to reach; reaching it exactly is enough
        """
        forget_total, retain_total = self.sizes
        forget, retain = RunningAccuracy(forget_total), RunningAccuracy(retain_total)
        for accuracy, images in self._turns(forget, retain):
            answers = model(images.pixels()).argmax(1)
            accuracy.add(int((answers == images.y).sum()), len(images))
            if forget.read and _best_possible(forget, retain, weight) < bar:
                break
        read = forget.read + retain.read
        stopped = read < forget_total + retain_total
        return ValAccuracies(forget.accuracy, retain.accuracy, read, stopped)

    def _turns(
        self, forget: RunningAccuracy, retain: RunningAccuracy
    ) -> Iterator[tuple[RunningAccuracy, Images]]:
        """Yield every batch in reading order, with the accuracy that it counts towards."""
        first, *rest = self.retain
        yield retain, first
        for images in self.forget:
            yield forget, images
        for images in rest:
            yield retain, images


def _best_possible(forget: RunningAccuracy, retain: RunningAccuracy, weight: float) -> float:
    """The largest score that the images read do not rule out."""
    return retain.upper_bound - weight * forget.lower_bound


def _shuffled_batches(images: Images, size: int) -> list[Images]:
    """Return the images in a fixed random order, `size` at a time."""
    order = torch.randperm(len(images), generator=stream(0, "race"))
    order = order.to(images.y.device)
    return [images.take(index) for index in order.split(size)]
