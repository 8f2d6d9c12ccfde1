"""Expected calibration error on the kept classes: is the model as sure as it is right?"""

import torch
from torch import Tensor

from unlearn.columns import Scale
from unlearn.evaluation import ClassifierEvaluator, ClassifierEvidence, Scores
from unlearn.metrics.base import Metric

BINS = 15


def ece(confidence: Tensor, correct: Tensor, bins: int = BINS) -> float:
    """Compute the expected calibration error (arXiv:1706.04599), in [0, 1].

    This is the sum over equal bins (a, b] of confidence of
    (share of images in the bin) * |accuracy - mean confidence|.

    confidence: probability of the answer, (n,)
    correct: whether the answer is right, (n,)
    """
    confidence, correct = confidence.double(), correct.double()
    place = (confidence * bins).ceil().long().clamp(1, bins) - 1
    empty = torch.zeros(bins, dtype=torch.double, device=confidence.device)
    gap = empty.index_add_(0, place, correct - confidence)
    return (gap.abs().sum() / len(confidence)).item()


def compute(
    evaluator: ClassifierEvaluator, evidence: ClassifierEvidence, oracle: ClassifierEvidence
) -> Scores:
    """Compute the calibration of the answers to test images of the kept classes.

    ece: expected calibration error with 15 bins, 0 to 1

    A wreck that answers uniformly and is right that often is perfectly calibrated: read the
    accuracy first.
    """
    top = evidence.logits["test", "retain"].double().softmax(1).amax(1)
    return {"ece": ece(top, evidence.correct("test", "retain"))}


METRIC = Metric(
    "classifier",
    {"ece": float},
    compute,
    blind_spot=(
        "a wreck that answers uniformly and is right that often is perfectly calibrated; a masked "
        "head is as calibrated as before."
    ),
    scales={"ece": Scale("share", "lower")},
)
