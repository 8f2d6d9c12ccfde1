"""Membership inference by confidence, the way SalUn reports it, and at a low false positive rate."""

import torch
from torch import Tensor

from unlearn.errors import require
from unlearn.evaluation import ClassifierEvaluator, ClassifierEvidence, Scores, evenly_spaced
from unlearn.metrics.base import Metric

LEARNED = 1000  # confidences a side: more only take longer


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


def called_members(members: Tensor, others: Tensor, asked: Tensor) -> Tensor:
    """Which of `asked` (k,) SalUn's attack calls members, bool (k,): a support vector machine (RBF kernel, C = 3, as
    its public code has it), learned on up to 1,000 evenly spaced confidences of `members` (n,) and as many of `others`
    (m,)."""
    from sklearn.svm import SVC

    size = min(len(members), len(others), LEARNED)
    require(size > 0, "the attack needs members and non-members to learn from")
    known = torch.cat(
        [side[evenly_spaced(len(side), size).to(side.device)] for side in (members, others)]
    )
    machine = SVC(C=3, gamma="auto", kernel="rbf").fit(
        known[:, None].cpu().numpy(), [1] * size + [0] * size
    )
    return torch.from_numpy(machine.predict(asked[:, None].cpu().numpy()) == 1)


def rate_at(positive: Tensor, negative: Tensor, false_positives: float) -> float:
    """True positive rate at the lowest threshold that lets at most that share of `negative` (m,) through; scores must
    lie strictly above it."""
    allowed = int(false_positives * len(negative))
    threshold = negative.sort(descending=True).values[allowed]
    return (positive > threshold).double().mean().item()


def compute(
    evaluator: ClassifierEvaluator, evidence: ClassifierEvidence, oracle: ClassifierEvidence
) -> Scores:
    """mia_efficacy: share of forgotten training images that the attack calls non-members; the attack is learned on the
    model's own confidence on retain-train (members) against retain-test (not), as SalUn's `MIA` (arXiv:2310.12508).
    mia_tpr_1fpr: how many forgotten training images are found by their log odds when 1 % of the forgotten test images
    may be taken for members. Unaugmented images; shares in [0, 1]; the oracle's stand beside.

    Fooled: efficacy is 1 as soon as the true label gets little probability (a masked head does that, and so does a
    wreck), and the oracle's own value on a class it never saw is near 1 too: only the distance to it says something.
    Where members and strangers look alike, as in a model that did not overfit, the machine has next to nothing to
    learn from: efficacy may then jump between 0 and 1 from seed to seed, and average_gap with it.
    """
    members, others = (
        confidence(evidence, "train", "retain"),
        confidence(evidence, "test", "retain"),
    )
    called = called_members(members, others, confidence(evidence, "train", "forget"))
    members, others = log_odds(evidence, "train", "forget"), log_odds(evidence, "test", "forget")
    return {
        "mia_efficacy": 1 - called.double().mean().item(),
        "mia_tpr_1fpr": rate_at(members, others, 0.01),
    }


METRIC = Metric(
    "classifier",
    {"mia_efficacy": float, "mia_tpr_1fpr": float},
    compute,
    blind_spot=(
        "efficacy is 1 for a masked head and for a wreck as for the oracle; TPR at 1 % FPR is near .01 for every "
        "model that did not overfit, the original included."
    ),
)
