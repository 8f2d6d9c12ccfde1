"""Zero retrain forgetting (arXiv:2205.08096): are forgotten images answered as if at random?"""

from math import log

import torch
from torch import Tensor

from unlearn.columns import Scale
from unlearn.errors import require
from unlearn.evaluation import ClassifierEvaluator, ClassifierEvidence, Scores
from unlearn.metrics.base import Metric
from unlearn.metrics.divergence import js, kl


def right(log_p: Tensor, log_q: Tensor) -> float:
    """Compute 1 - mean JS(p, q) / ln 2, in [0, 1]; 1 where p = q."""
    return 1 - (js(log_p, log_q).clamp(min=0).mean() / log(2)).item()


def legacy(log_p: Tensor, log_q: Tensor) -> float:
    """Compute what the paper's public code computes, in nats.

    It takes KL from the mixture instead of to it, and a mean over rows and classes. 1e-8 is added
    to the probabilities, as reference 5 does: otherwise a single 0 makes it minus infinity.
    """
    log_p, log_q = ((x.exp() + 1e-8).log() for x in (log_p, log_q))
    log_m = torch.logaddexp(log_p, log_q) - log(2)
    both = kl(log_m, log_p) + kl(log_m, log_q)
    return 1 - (0.5 * both.mean() / log_p.shape[1]).item()


def compute(
    evaluator: ClassifierEvaluator, evidence: ClassifierEvidence, oracle: ClassifierEvidence
) -> Scores:
    """Compare answers to test images of the forgotten classes with those of random weights.

    zrf: 1 - mean JS divergence / ln 2, 0 to 1; 1 is equal to random weights
    zrf_legacy: the same by the formula of the paper's public code

    The random weights are of the same architecture.

    Random weights are not the target: the oracle is, and it is usually sure of some other class, so
    compare with its value. A wreck whose answers are near uniform scores near 1, whatever else it
    lost. zrf_legacy has a fault of its own: the division takes most of its range, so an unforgotten
    model already scores about .8.
    """
    require(
        evidence.random is not None,
        "ZRF needs the answers of random weights; use ClassifierEvaluator.observe",
    )
    log_p = evidence.logits["test", "forget"].double().log_softmax(1)
    log_q = torch.as_tensor(evidence.random).double().log_softmax(1)
    return {"zrf": right(log_p, log_q), "zrf_legacy": legacy(log_p, log_q)}


METRIC = Metric(
    "classifier",
    {"zrf": float, "zrf_legacy": float},
    compute,
    blind_spot=(
        "its target is random weights, not the oracle: a model that answers nothing gets near 1, "
        "above the oracle."
    ),
    scales={"*": Scale("share", "oracle")},
)
