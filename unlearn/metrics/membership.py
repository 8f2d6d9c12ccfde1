"""Membership inference: are forgotten training images told from unseen ones of the class?"""

import torch
from torch import Tensor

from unlearn.columns import Scale
from unlearn.evaluation import ClassifierEvaluator, ClassifierEvidence, Scores
from unlearn.metrics.base import Metric
from unlearn.metrics.entropy import entropy


def auc(positive: Tensor, negative: Tensor) -> float:
    """Compute the area under the ROC curve from scores `positive` (n,) and `negative` (m,).

    That is P(positive > negative) + P(positive = negative) / 2.
    """
    ranks = torch.cat([positive, negative]).double()
    _, inverse, counts = ranks.unique(return_inverse=True, return_counts=True)
    last = counts.cumsum(0).double()
    mean_rank = (last - (counts - 1) / 2)[inverse]
    n, m = len(positive), len(negative)
    area = (mean_rank[:n].sum() - n * (n + 1) / 2) / (n * m)
    return float(area.item())


def compute(
    evaluator: ClassifierEvaluator, evidence: ClassifierEvidence, oracle: ClassifierEvidence
) -> Scores:
    """Compute how well entropy tells train-forget from test-forget (arXiv:2003.10595).

    mia_auc: the AUC of minus the entropy, on unaugmented images, 0 to 1; 0.5 is ignorance

    Compare it with `oracle_mia_auc`. A value below 0.5 is not success.
    """
    members = entropy(evidence.logits["train", "forget"].double().softmax(1))
    others = entropy(evidence.logits["test", "forget"].double().softmax(1))
    return {"mia_auc": auc(-members, -others)}


METRIC = Metric(
    "classifier",
    {"mia_auc": float},
    compute,
    blind_spot=(
        "where the model did not overfit, the original, a masked head and a wreck all read about "
        ".5, as the oracle does."
    ),
    scales={"*": Scale("share", "oracle")},
    floor=("mia_auc",),
)
