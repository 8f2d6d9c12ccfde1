"""Membership inference by confidence, the way SalUn reports it, and at a low false positive rate."""

import torch
from torch import Tensor

from unlearn.errors import require
from unlearn.evaluation import ClassifierEvidence, ClassifierSetting, Scores
from unlearn.metrics.base import Metric

RIDGE = 1e-3


def confidence(evidence: ClassifierEvidence, split: str, part: str) -> Tensor:
    """The probability of the true label, double (n,)."""
    labels = evidence.labels[split, part]
    return evidence.logits[split, part].double().softmax(1).gather(1, labels[:, None]).squeeze(1)


def log_odds(evidence: ClassifierEvidence, split: str, part: str) -> Tensor:
    """log p / (1 - p) of the true label's probability, from the logits and so never infinite (arXiv:2112.03570)."""
    labels = evidence.labels[split, part][:, None]
    logits = evidence.logits[split, part].double()
    rest = logits.scatter(1, labels, -torch.inf).logsumexp(1)
    return logits.gather(1, labels).squeeze(1) - rest


def logistic(members: Tensor, others: Tensor, rounds: int = 50) -> tuple[float, float]:
    """(slope, intercept) of a logistic regression that tells `members` (n,) from `others` (m,), both sides of equal
    weight, slope held by a ridge; Newton's method in double, so that the same data give the same bits."""
    require(len(members) > 0 and len(others) > 0, "the attack needs members and non-members to learn from")
    x = torch.cat([members, others]).double()
    target = torch.cat([torch.ones_like(members), torch.zeros_like(others)]).double()
    weight = torch.where(target > 0, 0.5 / len(members), 0.5 / len(others))
    design = torch.stack([x, torch.ones_like(x)], 1)
    penalty = torch.tensor([RIDGE, 0.0], dtype=x.dtype, device=x.device)
    theta = torch.zeros(2, dtype=x.dtype, device=x.device)
    for _ in range(rounds):
        p = (design @ theta).sigmoid()
        gradient = design.T @ (weight * (p - target)) + penalty * theta
        hessian = design.T @ ((weight * p * (1 - p))[:, None] * design) + torch.diag(penalty + 1e-9)
        theta = theta - torch.linalg.solve(hessian, gradient)
    return theta[0].item(), theta[1].item()


def rate_at(positive: Tensor, negative: Tensor, false_positives: float) -> float:
    """True positive rate at the lowest threshold that lets at most that share of `negative` (m,) through; scores must
    lie strictly above it."""
    allowed = int(false_positives * len(negative))
    threshold = negative.sort(descending=True).values[allowed]
    return (positive > threshold).double().mean().item()


def compute(setting: ClassifierSetting, evidence: ClassifierEvidence, oracle: ClassifierEvidence) -> Scores:
    """mia_efficacy: share of forgotten training images that the attack calls non-members; the attack is learned on the
    model's own confidence on retain-train (members) against retain-test (not), as SalUn's `MIA` (arXiv:2310.12508).
    mia_tpr_1fpr: how many forgotten training images are found by their log odds when 1 % of the forgotten test images
    may be taken for members. Unaugmented images; shares in [0, 1]; the oracle's stand beside.

    Fooled: efficacy is 1 as soon as the true label gets little probability (a masked head does that, and so does a
    wreck), and the oracle's own value on a class it never saw is near 1 too: only the distance to it says something.
    SalUn fits an RBF support vector machine; on one feature a logistic regression draws the same threshold.
    """
    slope, intercept = logistic(confidence(evidence, "train", "retain"), confidence(evidence, "test", "retain"))
    called = slope * confidence(evidence, "train", "forget") + intercept > 0
    members, others = log_odds(evidence, "train", "forget"), log_odds(evidence, "test", "forget")
    return {"mia_efficacy": 1 - called.double().mean().item(), "mia_tpr_1fpr": rate_at(members, others, 0.01)}


METRIC = Metric("classifier", {"mia_efficacy": float, "mia_tpr_1fpr": float}, compute)
