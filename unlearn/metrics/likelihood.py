"""How well a generator explains real digits: of the kept classes it should, of the forgotten ones it should not."""

from unlearn.evaluation import GeneratorEvaluator, GeneratorEvidence, Scores
from unlearn.metrics.base import Metric


def compute(
    evaluator: GeneratorEvaluator, evidence: GeneratorEvidence, oracle: GeneratorEvidence
) -> Scores:
    """retain_elbo, forget_elbo: evidence lower bound of up to 100 real test images a class under their own label, mean
    over the kept and over the forgotten classes, nats an image, higher is better (arXiv:1312.6114)."""
    return {
        "retain_elbo": evidence.bounds[evaluator.kept].mean().item(),
        "forget_elbo": evidence.bounds[list(evaluator.forget)].mean().item(),
    }


METRIC = Metric("generator", {"retain_elbo": float, "forget_elbo": float}, compute)
