"""Entropy of a classifier's answers on the forgotten classes."""

from torch import Tensor

from unlearn.columns import Scale
from unlearn.evaluation import ClassifierEvaluator, ClassifierEvidence, Scores
from unlearn.metrics.base import Metric


def entropy(probabilities: Tensor) -> Tensor:
    """Compute the Shannon entropy over the last dimension, in nats; 0 log 0 = 0."""
    return -(probabilities * probabilities.clamp(min=1e-38).log()).sum(-1)


def compute(
    evaluator: ClassifierEvaluator, evidence: ClassifierEvidence, oracle: ClassifierEvidence
) -> Scores:
    """Compute the entropy of the answers to test images of the forgotten classes.

    forget_entropy: mean entropy, 0 to ln classes nats

    The target is the oracle's value, not the maximum: a network that never saw the class is often
    sure that it is something else.
    """
    probabilities = evidence.logits["test", "forget"].softmax(1)
    return {"forget_entropy": entropy(probabilities).mean().item()}


METRIC = Metric(
    "classifier",
    {"forget_entropy": float},
    compute,
    blind_spot=(
        "a masked head comes near the oracle; answering nothing at all has the highest entropy. "
        "The oracle's value is the target, not the highest."
    ),
    scales={"*": Scale("nats", "oracle")},
    floor=("forget_entropy",),
)
