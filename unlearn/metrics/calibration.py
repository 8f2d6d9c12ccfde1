"""Expected calibration error: whether the answers that stay are still as sure as they are right."""

import torch
from torch import Tensor

from unlearn.evaluation import ClassifierEvaluator, ClassifierEvidence, Scores
from unlearn.metrics.base import Metric

BINS = 15


def ece(confidence: Tensor, correct: Tensor, bins: int = BINS) -> float:
    """Sum over equal bins (a, b] of confidence of (share of images) |accuracy - mean confidence| (arXiv:1706.04599)."""
    confidence, correct = confidence.double(), correct.double()
    place = (confidence * bins).ceil().long().clamp(1, bins) - 1
    gap = torch.zeros(bins, dtype=torch.double, device=confidence.device).index_add_(
        0, place, correct - confidence
    )
    return (gap.abs().sum() / len(confidence)).item()


def compute(
    evaluator: ClassifierEvaluator, evidence: ClassifierEvidence, oracle: ClassifierEvidence
) -> Scores:
    """ece: over the test images of the kept classes, 15 bins, in [0, 1].

    Fooled: a wreck that answers uniformly and is right that often is perfectly calibrated. Read the accuracy first.
    """
    top = evidence.logits["test", "retain"].double().softmax(1).amax(1)
    return {"ece": ece(top, evidence.correct("test", "retain"))}


METRIC = Metric(
    "classifier",
    {"ece": float},
    compute,
    blind_spot=(
        "a wreck that answers uniformly and is right that often is perfectly calibrated; a masked head is as "
        "calibrated as before."
    ),
)
