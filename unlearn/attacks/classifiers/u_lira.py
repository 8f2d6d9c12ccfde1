"""U-LiRA (arXiv:2403.01218): a likelihood-ratio attack whose shadows are trained and unlearned."""

import copy
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch

from unlearn.attacks.base import Target, Unlearn
from unlearn.attacks.classifiers.lira import (
    Lira,
    Shadows,
    halves,
    in_family,
    log_odds,
    members_and_strangers,
)
from unlearn.models import Weights
from unlearn.splits import Split, Splits
from unlearn.streams import seeded, stream


@dataclass(frozen=True)
class TrainedShadows(Shadows):
    """Shadows before they are unlearned.

    network: the architecture, in eval mode
    weights: of every shadow
    """

    network: Any
    weights: list[Weights]


@in_family
@dataclass(frozen=True)
class ULira(Lira):
    """Tell forgotten images (train-forget) from never-seen ones (test-forget) by their likelihoods.

    Every shadow is trained on the retained images and a random half of the pool (members and
    strangers), then unlearns that half by the subject's own method with the subject's own knobs.
    Two Gaussians are fitted to the log odds of every pool image: of the shadows that learned and
    unlearned it, and of those that never saw it. So a method that only shifts its answers, as a
    masked head does, gains nothing: its shadows are shifted too.

    The reference models come from no method: their shadows are trained, not unlearned, as in
    `lira-matched`. Deviation from the paper: an image that a shadow never saw was not in its
    training set at all, while the paper's second distribution is that of retrained models; and
    variances are shared by all images, as LiRA does with few shadows.

    u_lira_auc: area under the ROC curve of members against strangers; 0.5 where unlearning left
        nothing of its members
    u_lira_tpr_1fpr: share of members that are found at a false positive rate of 1 %; about 0.01
        where unlearning left nothing of its members

    u_lira_blind: 1 where the attack reads less than 0.55 on the original, which has seen its
        members: it then sees nothing anywhere, and no low value says anything; else 0

    Methods that need artifacts (an expert, a Fisher, an oracle) cannot be attacked. Cost: `shadows`
    trainings, shared by all subjects of a problem; `shadows` unlearnings for every subject.

    shadows: number of shadow models, at least 4
    steps: training steps of each, at least 1
    batch: images per step, at least 1
    lr: peak learning rate of the one-cycle schedule, above 0
    augment: name of an augmentation, or `none`
    follow: train shadows as the original was; `steps`, `batch`, `lr`, `augment` then do not count
    """

    family: ClassVar[str] = "u_lira"
    unlearns: ClassVar[bool] = True
    blind_spot: ClassVar[str] = (
        "it asks whether images were trained on, not whether the class is known: a model that "
        "answers forgotten and unseen images of the class alike, and right, reads 0.5."
    )

    follow: bool = True

    def prepare(self, target: Target, original: Any) -> TrainedShadows:
        """Train the shadows and keep them."""
        pool = members_and_strangers(target.splits)
        inside = halves(len(pool), self.shadows, target.seed)
        odds, weights = [], []
        for network in self.trained(target, original, inside):
            odds.append(log_odds(network, pool))
            weights.append(network.state_dict())
        return TrainedShadows(inside, torch.stack(odds), copy.deepcopy(original), weights)

    def prepared_for(
        self, target: Target, prepared: TrainedShadows, unlearn: Unlearn
    ) -> TrainedShadows:
        """Unlearn every shadow's half of the pool; return the log odds after it."""
        pool = members_and_strangers(target.splits)
        odds = []
        for i, half in enumerate(prepared.inside):
            network = copy.deepcopy(prepared.network)
            network.load_state_dict(prepared.weights[i])
            seen = pool.take(half.to(pool.y.device))
            train = Split(seen, target.splits.train.retain)
            splits = Splits(train, target.splits.val, target.splits.test)
            device = next(network.parameters()).device
            generator = stream(target.seed, "shadow", i, "unlearn", device=device)
            with seeded(target.seed, "shadow", i, "unlearning noise"):
                weights = unlearn(network, splits, generator)
            network.load_state_dict(weights)
            odds.append(log_odds(network.eval(), pool))
        return replace(prepared, odds=torch.stack(odds))
