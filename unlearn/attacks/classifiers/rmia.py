"""Robust membership inference (RMIA, arXiv:2312.03262): is an image likelier than others here?"""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from unlearn.attacks.base import Target, check_positive, check_share
from unlearn.attacks.classifiers.lira import (
    Lira,
    halves,
    in_family,
    log_odds,
    members_and_strangers,
)
from unlearn.evaluation import Scores

SMALLEST = 1e-12  # of a probability that is divided by


@dataclass(frozen=True)
class Reference:
    """What the shadows answer on average: probabilities of the true label.

    pool: of the pool's images (train-forget, then test-forget), double (n,)
    population: of images that nobody trained on, double (m,)
    """

    pool: Tensor
    population: Tensor


@in_family
@dataclass(frozen=True)
class Rmia(Lira):
    """Tell members (train-forget) from strangers (test-forget) by pairwise likelihood ratios.

    The score of an image x is the share of population images z for which
    [Pr(x | model) / Pr(x)] / [Pr(z | model) / Pr(z)] is at least `gamma`. Pr(. | model) is the
    probability of the true label; Pr(x) is its mean over shadows, one half of which saw x (the
    paper's online attack). The population are the val images of the forget part, which neither the
    model nor any shadow saw; so Pr(z) is the paper's offline estimate,
    ((1 + offline_a) p + (1 - offline_a)) / 2 with p the mean over all shadows.

    rmia_auc: area under the ROC curve of members against strangers; 0.5 where a model holds nothing
        of its members
    rmia_tpr_1fpr: share of members that are found at a false positive rate of 1 %; about 0.01 where
        a model holds nothing of its members

    rmia_blind: 1 where the attack reads less than 0.55 on the original, which has seen its members:
        it then sees nothing anywhere, and no low value says anything; else 0

    The shadows are those of `lira-matched`. Few of them are enough for a mean, while LiRA's
    variances want many; the paper's gain is there. They are not unlearned: a model whose
    probabilities of all forgotten images are equal, such as a masked one, reads 0.5.
    Cost: `shadows` trainings, shared by all subjects of a problem.

    shadows: number of shadow models, at least 4
    steps: training steps of each, at least 1
    batch: images per step, at least 1
    lr: peak learning rate of the one-cycle schedule, above 0
    augment: name of an augmentation, or `none`
    follow: train shadows as the original was; `steps`, `batch`, `lr`, `augment` then do not count
    gamma: ratio from which x counts as likelier than z, above 0; the paper takes 2, its authors'
        later code 1: where most probabilities lie near 1, none is twice another's
    offline_a: how a shadow's probability grows with membership: inside = offline_a * outside +
        1 - offline_a, in [0, 1]; the paper's value for CIFAR-10 is 0.3
    """

    family: ClassVar[str] = "rmia"
    blind_spot: ClassVar[str] = (
        "a masked head gives all forgotten images the probability 0, and hides its members."
    )

    follow: bool = True
    gamma: float = 1.0
    offline_a: float = 0.3

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(self, "gamma")
        check_share(self, "offline_a")

    def prepare(self, target: Target, original: Any) -> Any:
        """Train the shadows; return the means of their answers."""
        pool, population = members_and_strangers(target.splits), target.splits.val.forget
        inside = halves(len(pool), self.shadows, target.seed)
        own, others = [], []
        for network in self.trained(target, original, inside):
            own.append(log_odds(network, pool).sigmoid())
            others.append(log_odds(network, population).sigmoid())
        seen = inside.double()
        probabilities = torch.stack(own)
        inner = (probabilities * seen).sum(0) / seen.sum(0)
        outer = (probabilities * (1 - seen)).sum(0) / (1 - seen).sum(0)
        outside = torch.stack(others).mean(0)
        return Reference((inner + outer) / 2, with_members(outside, self.offline_a))

    def run(self, target: Target, model: Any, prepared: Any) -> Scores:
        """Measure how well the score separates members from strangers under one model."""
        pool = log_odds(model, members_and_strangers(target.splits)).sigmoid()
        population = log_odds(model, target.splits.val.forget).sigmoid()
        score = dominance(
            ratio_of(pool, prepared.pool), ratio_of(population, prepared.population), self.gamma
        )
        return self.separation(target, score)


def with_members(outside: Tensor, offline_a: float) -> Tensor:
    """Estimate the mean over models half of which saw the images, from models that did not."""
    return ((1 + offline_a) * outside + (1 - offline_a)) / 2


def ratio_of(own: Tensor, reference: Tensor) -> Tensor:
    """Divide a model's probabilities (n,) by the reference's (n,)."""
    return own / reference.clamp(min=SMALLEST)


def dominance(pool: Tensor, population: Tensor, gamma: float) -> Tensor:
    """Compute the share of `population` (m,) that each of `pool` (n,) exceeds `gamma` times."""
    larger = pool[:, None] >= gamma * population[None, :]
    return larger.double().mean(1)
