"""Likelihood-ratio attack (LiRA, arXiv:2112.03570): was this image in the training set?"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor

from unlearn.attacks.base import Attack, Target, check_at_least
from unlearn.columns import NO_SCALE, Scale
from unlearn.errors import BadInput
from unlearn.evaluation import Scores
from unlearn.metrics.efficacy import rate_at
from unlearn.metrics.membership import auc
from unlearn.models.fresh import fresh
from unlearn.splits import Images, Splits
from unlearn.streams import seeded, stream
from unlearn.train import Training, fit

BLIND = 0.05  # above 0.5: an AUC below this on the original shows that the attack sees nothing
SMALLEST_SPREAD = 1e-6  # of log odds; shadows that all agree are divided by this

Kind = TypeVar("Kind", bound="Lira")


@dataclass(frozen=True)
class Shadows:
    """The shadow models' answers on the pool (train-forget, then test-forget).

    inside: which pool image each shadow was trained on, bool (shadows, n)
    odds: log odds of the true label, double (shadows, n)
    """

    inside: Tensor
    odds: Tensor


def in_family(kind: type[Kind]) -> type[Kind]:
    """Name the columns of a likelihood-ratio attack after its `family`: `<family>_auc`, ..."""
    family = kind.family
    shares = (f"{family}_auc", f"{family}_tpr_1fpr")
    kind.home = family.replace("_", "-")
    kind.model_columns = dict.fromkeys(shares, float)
    kind.floor_columns = shares
    kind.subject_columns = {f"{family}_blind": float}
    kind.scales = {f"{family}_blind": NO_SCALE, f"{family}_*": Scale("share", "oracle")}
    return kind


@in_family
@dataclass(frozen=True)
class Lira(Attack):
    """Tell members (train-forget) from strangers (test-forget) by a ratio of likelihoods.

    Trains shadow models of the same architecture on all retained training images and a random half
    of the pool (members and strangers). Fits two Gaussians to the log odds of every pool image: of
    the shadows that saw it, and of those that did not. Their variances are shared by all images, as
    in the paper for few shadows. The score of an image is the log ratio of the two densities at the
    attacked model's log odds.

    lira_auc: area under the ROC curve of members against strangers; 0.5 where a model holds nothing
        of its members
    lira_tpr_1fpr: share of members that are found at a false positive rate of 1 %; about 0.01 where
        a model holds nothing of its members

    lira_blind: 1 where the attack reads less than 0.55 on the original, which has seen its members:
        it then sees nothing anywhere, and no low value says anything; else 0

    Registered twice. The shadows of `lira` are trained by the knobs here, not as the original was;
    those of `lira-matched` (`follow`) as the original was, by the spec's `train:`, and its columns
    begin with `matched_`. Shadows that are trained otherwise answer otherwise, which hides members.
    The shadows are not unlearned. Against a model whose answers left both Gaussians the attack is
    weak, and its low value is no proof (`u-lira` trains and unlearns every shadow instead).
    Cost: `shadows` trainings, shared by all subjects of a problem.

    shadows: number of shadow models, at least 4
    steps: training steps of each, at least 1
    batch: images per step, at least 1
    lr: peak learning rate of the one-cycle schedule, above 0
    augment: name of an augmentation, or `none`
    follow: train shadows as the original was; `steps`, `batch`, `lr`, `augment` then do not count
    """

    task: ClassVar[str] = "classifier"
    family: ClassVar[str] = "lira"
    blind_spot: ClassVar[str] = (
        "a masked head answers outside of both Gaussians and hides its members; a low value is no "
        "proof."
    )

    shadows: int = 8
    steps: int = 300
    batch: int = 64
    lr: float = 3e-3
    augment: str = "none"
    follow: bool = False

    def __post_init__(self) -> None:
        check_at_least(4, self, "shadows")
        self.own_plan()

    def own_plan(self) -> Training:
        """Describe a shadow's training by the knobs; refuses those out of range."""
        return Training(self.steps, self.batch, self.lr, augment=self.augment)

    def plan(self, target: Target) -> Training:
        """Describe how a shadow is trained: by the knobs, or as the target's original was."""
        if not self.follow:
            return self.own_plan()
        if target.training is None:
            raise BadInput("follow needs a target that says how its original was trained")
        return target.training

    def prepare(self, target: Target, original: Any) -> Shadows:
        """Train the shadows."""
        pool = members_and_strangers(target.splits)
        inside = halves(len(pool), self.shadows, target.seed)
        networks = self.trained(target, original, inside)
        return Shadows(inside, torch.stack([log_odds(network, pool) for network in networks]))

    def trained(self, target: Target, original: Any, inside: Tensor) -> Iterator[Any]:
        """Train a shadow on the retained images and each half of the pool; yield it in eval mode.

        inside: which pool image each shadow is trained on, bool (shadows, n)
        """
        retain, plan = target.splits.train.retain, self.plan(target)
        pool = members_and_strangers(target.splits)
        for i, half in enumerate(inside):
            yield train_shadow(original, retain, pool, half, plan, target.seed, i)

    def run(self, target: Target, model: Any, prepared: Shadows) -> Scores:
        """Measure how well the ratio separates members from strangers under one model."""
        own = log_odds(model, members_and_strangers(target.splits))
        ratio = likelihood_ratio(own, prepared.odds, prepared.inside)
        return self.separation(target, ratio)

    def separation(self, target: Target, score: Tensor) -> Scores:
        """Measure how well a score of the pool (n,) tells members from strangers."""
        first = len(target.splits.train.forget)
        members, strangers = score[:first], score[first:]
        return {
            f"{self.family}_auc": auc(members, strangers),
            f"{self.family}_tpr_1fpr": rate_at(members, strangers, 0.01),
        }

    def report(self, name: str, own: Any, found: Mapping[str, Any]) -> Scores:
        scores = super().report(name, own, found)
        blind = found["original"][f"{self.family}_auc"] < 0.5 + BLIND
        return scores | {self.column(name, f"{self.family}_blind"): float(blind)}


def train_shadow(
    model: Any, retain: Images, pool: Images, half: Tensor, plan: Training, seed: int, i: int
) -> Any:
    """Train shadow `i` on `retain` and the `half` of the pool; return it in eval mode."""
    device = next(model.parameters()).device
    part = pool.take(half.to(pool.y.device))
    images = Images(torch.cat([retain.x, part.x]), torch.cat([retain.y, part.y]))
    network = fresh(model, stream(seed, "shadow", i, "start", device=device))
    generator = stream(seed, "shadow", i, "train", device=device)
    # A network that drops out without a layer for it draws from torch's global generators.
    with seeded(seed, "shadow", i, "noise"):
        weights, _ = fit(network, images, plan, generator)
    network.load_state_dict(weights)
    return network.eval()


def members_and_strangers(splits: Splits) -> Images:
    """Join the pool: train-forget, then test-forget."""
    train, test = splits.train.forget, splits.test.forget
    return Images(torch.cat([train.x, test.x]), torch.cat([train.y, test.y]))


def halves(n: int, shadows: int, seed: int) -> Tensor:
    """Choose the pool images that each shadow sees, bool (shadows, n).

    Every image is in for half of the shadows, rounded down.
    """
    noise = torch.rand(shadows, n, generator=stream(seed, "shadow halves"))
    ranks = noise.argsort(0).argsort(0)
    return ranks < shadows // 2


@torch.no_grad()
def log_odds(model: Any, images: Images) -> Tensor:
    """Compute log p / (1 - p) of the true label, double (n,) on the CPU.

    It is computed from logits, so it is finite wherever those are.
    """
    images = images.to(next(model.parameters()).device)
    answers = [model(piece.pixels()) for piece in images.pieces()]
    logits = torch.cat(answers).double().cpu()
    labels = images.y.cpu()[:, None]
    own = logits.gather(1, labels).squeeze(1)
    others = logits.scatter(1, labels, -torch.inf)
    return own - others.logsumexp(1)


def likelihood_ratio(target: Tensor, odds: Tensor, inside: Tensor) -> Tensor:
    """Compute log N(target; mu_in, s_in) - log N(target; mu_out, s_out) per image, (n,).

    target: log odds under the attacked model, (n,)
    odds: log odds under the shadows, (shadows, n)
    inside: whether the shadow saw the image, bool (shadows, n)

    Every image has its own means; the deviations are shared by all images.
    """

    def log_density(chosen: Tensor) -> Tensor:
        count = chosen.sum(0)
        mean = (odds * chosen).sum(0) / count
        squares = ((odds - mean) * chosen).square().sum()
        variance = squares / (count - 1).sum()
        spread = variance.sqrt().clamp(min=SMALLEST_SPREAD)
        return -0.5 * ((target - mean) / spread).square() - spread.log()

    return log_density(inside) - log_density(~inside)
