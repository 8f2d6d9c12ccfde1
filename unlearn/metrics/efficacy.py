"""Membership inference by confidence, as SalUn reports it, and at a low false positive rate."""

import torch
from torch import Tensor

from unlearn.columns import Scale
from unlearn.errors import require
from unlearn.evaluation import ClassifierEvaluator, ClassifierEvidence, Scores, evenly_spaced
from unlearn.metrics.base import Metric

LEARNED = 1000  # confidences per side; more only take longer


def confidence(evidence: ClassifierEvidence, split: str, part: str) -> Tensor:
    """Compute the probability of the true label, double (n,)."""
    labels = evidence.labels[split, part][:, None]
    probabilities = evidence.logits[split, part].double().softmax(1)
    return probabilities.gather(1, labels).squeeze(1)


def log_odds(evidence: ClassifierEvidence, split: str, part: str) -> Tensor:
    """Compute log p / (1 - p) of the true label's probability p, double (n,) (arXiv:2112.03570).

    It is computed from the logits, so it is never infinite.
    """
    labels = evidence.labels[split, part][:, None]
    logits = evidence.logits[split, part].double()
    rest = logits.scatter(1, labels, -torch.inf).logsumexp(1)
    return logits.gather(1, labels).squeeze(1) - rest


def called_members(members: Tensor, others: Tensor, asked: Tensor) -> Tensor:
    """Tell which of `asked` (k,) SalUn's attack calls members, bool (k,).

    The attack is a support vector machine (RBF kernel, C = 3, as in SalUn's public code), fitted to
    up to 1,000 evenly spaced confidences of `members` (n,) and as many of `others` (m,).
    """
    from sklearn.svm import SVC

    size = min(len(members), len(others), LEARNED)
    require(
        size > 0,
        f"the attack needs members and non-members to learn from, not {len(members)} and "
        f"{len(others)}; give at least one image of each",
    )
    chosen = [side[evenly_spaced(len(side), size).to(side.device)] for side in (members, others)]
    known = torch.cat(chosen)[:, None].cpu().numpy()
    machine = SVC(C=3, gamma="auto", kernel="rbf").fit(known, [1] * size + [0] * size)
    answers = machine.predict(asked[:, None].cpu().numpy())
    return torch.from_numpy(answers == 1)


def rate_at(positive: Tensor, negative: Tensor, false_positives: float) -> float:
    """Compute the true positive rate at a false positive rate of at most `false_positives`.

    positive: scores of members, (n,)
    negative: scores of strangers, (m,)
    false_positives: the share of `negative` that may be called members, 0 to 1

    The threshold is the lowest that keeps this rate; a score must lie strictly above it.
    """
    allowed = int(false_positives * len(negative))
    threshold = negative.sort(descending=True).values[allowed]
    return (positive > threshold).double().mean().item()


def compute(
    evaluator: ClassifierEvaluator, evidence: ClassifierEvidence, oracle: ClassifierEvidence
) -> Scores:
    """Compute two results of membership inference, shares in [0, 1], on unaugmented images.

    mia_efficacy: share of forgotten training images that the attack calls non-members. The attack
        learns from the model's own confidence on train-retain (members) and test-retain (not), as
        SalUn's `MIA` does (arXiv:2310.12508).
    mia_tpr_1fpr: share of forgotten training images that their log odds reveal, when 1 % of the
        forgotten test images may be taken for members.

    Efficacy is 1 as soon as the true label gets little probability, as with a masked head or a
    wreck. The oracle's own value on a class that it never saw is near 1 too: only the distance to
    it says something. Where members and strangers look alike, as in a model that did not overfit,
    the machine has next to nothing to learn from: efficacy may then jump between 0 and 1 from seed
    to seed, and average_gap with it.
    """
    members = confidence(evidence, "train", "retain")
    others = confidence(evidence, "test", "retain")
    forgotten = confidence(evidence, "train", "forget")
    called = called_members(members, others, forgotten)
    seen, unseen = log_odds(evidence, "train", "forget"), log_odds(evidence, "test", "forget")
    return {
        "mia_efficacy": 1 - called.double().mean().item(),
        "mia_tpr_1fpr": rate_at(seen, unseen, 0.01),
    }


METRIC = Metric(
    "classifier",
    {"mia_efficacy": float, "mia_tpr_1fpr": float},
    compute,
    blind_spot=(
        "efficacy is 1 for a masked head and for a wreck as for the oracle; TPR at 1 % FPR is near "
        ".01 for every model that did not overfit, the original included."
    ),
    scales={"*": Scale("share", "oracle")},
)
