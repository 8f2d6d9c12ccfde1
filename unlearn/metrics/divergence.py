"""Divergences of a classifier's answers on the forgotten classes from the oracle's."""

from math import log

import torch
from torch import Tensor

from unlearn.columns import Scale
from unlearn.evaluation import ClassifierEvaluator, ClassifierEvidence, Scores
from unlearn.metrics.base import Metric


def kl(log_p: Tensor, log_q: Tensor) -> Tensor:
    """Compute KL(p || q) per row in nats, (n,), from log probabilities (n, classes)."""
    return (log_p.exp() * (log_p - log_q)).sum(1)


def js(log_p: Tensor, log_q: Tensor) -> Tensor:
    """Compute the Jensen-Shannon divergence per row in nats, (n,), in [0, ln 2]."""
    log_m = torch.logaddexp(log_p, log_q) - log(2)
    return 0.5 * (kl(log_p, log_m) + kl(log_q, log_m))


def compute(
    evaluator: ClassifierEvaluator, evidence: ClassifierEvidence, oracle: ClassifierEvidence
) -> Scores:
    """Compute means over the test images of the forgotten classes.

    kl_to_oracle: KL(oracle || model), nats
    js_to_oracle: Jensen-Shannon divergence, nats, 0 to ln 2
    js_distance_to_oracle: square root of that divergence, a metric, 0 to 0.8326

    Blind to what a wreck lost elsewhere: read them beside the retain accuracy.
    """
    log_q = evidence.logits["test", "forget"].double().log_softmax(1)
    log_p = oracle.logits["test", "forget"].double().log_softmax(1)
    divergence = js(log_p, log_q).clamp(min=0)
    return {
        "kl_to_oracle": kl(log_p, log_q).mean().item(),
        "js_to_oracle": divergence.mean().item(),
        "js_distance_to_oracle": divergence.sqrt().mean().item(),
    }


METRIC = Metric(
    "classifier",
    {"kl_to_oracle": float, "js_to_oracle": float, "js_distance_to_oracle": float},
    compute,
    blind_spot=(
        "they see the answers to forgotten images alone: a masked head comes near the oracle, and "
        "what a wreck lost elsewhere does not count."
    ),
    scales={"js_distance_to_oracle": Scale("", "lower"), "*": Scale("nats", "lower")},
    floor=(
        "kl_to_oracle",
        "js_to_oracle",
        "js_distance_to_oracle",
    ),
)
