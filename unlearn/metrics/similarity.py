"""Centred kernel alignment: how much of the original's, and of the oracle's, representation is in the features."""

from torch import Tensor

from unlearn.errors import require
from unlearn.evaluation import ClassifierEvaluator, ClassifierEvidence, Scores
from unlearn.metrics.base import Metric

PARTS = ("forget", "retain")


def cka(a: Tensor, b: Tensor) -> float:
    """Linear CKA of features `a` (n, d) and `b` (n, e) of the same images (arXiv:1905.00414), in [0, 1]; 1 for equal up
    to rotation and scale. 0 where one side is constant: it represents nothing. Through the smaller Gram matrices."""
    require(
        len(a) == len(b) and len(a) > 1, f"CKA compares the same images, not {len(a)} with {len(b)}"
    )
    a, b = (x.double() - x.double().mean(0) for x in (a, b))
    if len(a) < max(a.shape[1], b.shape[1]):
        a, b = a @ a.T, b @ b.T
        cross, own, other = (a * b).sum(), a.norm(), b.norm()
    else:
        cross, own, other = (a.T @ b).square().sum(), (a.T @ a).norm(), (b.T @ b).norm()
    scale = (own * other).item()
    return cross.item() / scale if scale > 0 else 0.0


def compute(
    evaluator: ClassifierEvaluator,
    evidence: ClassifierEvidence,
    oracle: ClassifierEvidence,
    original: ClassifierEvidence,
) -> Scores:
    """cka_{forget,retain}_to_{original,oracle} of the head's input on up to 500 test images of each part.

    A masked head has exactly the original's features: its forget_to_original is 1, which accuracies do not show.
    CKA has no fixed target; the oracle's own value to the original stands beside.
    """
    return {
        f"cka_{part}_to_{name}": cka(evidence.features[part], other.features[part])
        for part in PARTS
        for name, other in (("original", original), ("oracle", oracle))
    }


METRIC = Metric(
    "classifier",
    {f"cka_{part}_to_{name}": float for part in PARTS for name in ("original", "oracle")},
    compute,
    with_original=True,
    blind_spot=(
        "a wreck resembles the original least of all, less than the oracle does: low CKA on forgotten images is good "
        "news only beside a high one on kept images."
    ),
)
