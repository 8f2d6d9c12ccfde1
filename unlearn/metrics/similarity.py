"""Centred kernel alignment of the features with the original's and with the oracle's."""

from torch import Tensor

from unlearn.columns import Scale
from unlearn.errors import require
from unlearn.evaluation import ClassifierEvaluator, ClassifierEvidence, Scores
from unlearn.metrics.base import Metric

PARTS = ("forget", "retain")


def cka(a: Tensor, b: Tensor) -> float:
    """Compute the linear CKA of features `a` (n, d) and `b` (n, e) (arXiv:1905.00414), in [0, 1].

    Both are of the same images. 1 means equal up to rotation and scale. 0 where one side is
    constant, since that represents nothing. Computed from the smaller Gram matrices.
    """
    require(
        len(a) == len(b) and len(a) > 1,
        f"CKA compares features of the same 2 images or more, not of {len(a)} with {len(b)}; give "
        "both models the same images",
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
    """Compute the CKA of the head's input, in [0, 1], over up to 500 test images of each part.

    cka_forget_to_original: with the original's, on test-forget
    cka_forget_to_oracle: with the oracle's, on test-forget
    cka_retain_to_original: with the original's, on test-retain
    cka_retain_to_oracle: with the oracle's, on test-retain

    A masked head has exactly the original's features: its
    forget_to_original is 1, which accuracies do not show. CKA has no fixed target: compare with the
    oracle's own value to the original.
    """
    scores: Scores = {}
    for part in PARTS:
        for name, other in (("original", original), ("oracle", oracle)):
            value = cka(evidence.features[part], other.features[part])
            scores[f"cka_{part}_to_{name}"] = value
    return scores


METRIC = Metric(
    "classifier",
    {f"cka_{part}_to_{name}": float for part in PARTS for name in ("original", "oracle")},
    compute,
    with_original=True,
    blind_spot=(
        "a wreck resembles the original least of all, less than the oracle does: low CKA on "
        "forgotten images is good news only beside a high one on kept images."
    ),
    scales={"*_to_oracle": Scale("share", "higher"), "*": Scale("share", "oracle")},
    floor=(
        "cka_forget_to_original",
        "cka_forget_to_oracle",
        "cka_retain_to_oracle",
    ),
)
