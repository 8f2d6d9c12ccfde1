"""Membership inference: can the forgotten training images be told from forgotten test images the model never saw?"""

import torch
from torch import Tensor

from unlearn.evaluation import ClassifierEvaluator, ClassifierEvidence, Scores
from unlearn.metrics.base import Metric
from unlearn.metrics.entropy import entropy


def auc(positive: Tensor, negative: Tensor) -> float:
    """Area under the ROC curve: P(positive > negative) + P(equal) / 2, from scores (n,) and (m,)."""
    ranks = torch.cat([positive, negative]).double()
    _, inverse, counts = ranks.unique(return_inverse=True, return_counts=True)
    last = counts.cumsum(0).double()
    mean_rank = (last - (counts - 1) / 2)[inverse]
    n, m = len(positive), len(negative)
    return ((mean_rank[:n].sum() - n * (n + 1) / 2) / (n * m)).item()


def compute(
    evaluator: ClassifierEvaluator, evidence: ClassifierEvidence, oracle: ClassifierEvidence
) -> Scores:
    """mia_auc: AUC of minus the entropy, train-forget against test-forget, both unaugmented (arXiv:2003.10595).

    0.5 is ignorance; the oracle's value stands beside as `oracle_mia_auc`. A value below 0.5 is not success.
    """
    members, others = (
        entropy(evidence.logits[split, "forget"].double().softmax(1)) for split in ("train", "test")
    )
    return {"mia_auc": auc(-members, -others)}


METRIC = Metric(
    "classifier",
    {"mia_auc": float},
    compute,
    blind_spot=(
        "where the model did not overfit, the original, a masked head and a wreck all read about .5, as the oracle "
        "does."
    ),
)
