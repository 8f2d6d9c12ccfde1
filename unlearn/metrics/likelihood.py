"""How well a generator explains real images: of kept classes well, of forgotten ones badly."""

from unlearn.columns import Scale
from unlearn.evaluation import GeneratorEvaluator, GeneratorEvidence, Scores
from unlearn.metrics.base import Metric


def compute(
    evaluator: GeneratorEvaluator, evidence: GeneratorEvidence, oracle: GeneratorEvidence
) -> Scores:
    """Compute the evidence lower bound of real test images under their own label (arXiv:1312.6114).

    In nats per image, over up to 100 images per class; higher explains the images better.

    retain_elbo: mean over the kept classes
    forget_elbo: mean over the forgotten classes
    """
    return {
        "retain_elbo": evidence.bounds[evaluator.kept].mean().item(),
        "forget_elbo": evidence.bounds[list(evaluator.forget)].mean().item(),
    }


METRIC = Metric(
    "generator",
    {"retain_elbo": float, "forget_elbo": float},
    compute,
    scales={
        "retain_elbo": Scale("nats per image", "higher"),
        "forget_elbo": Scale("nats per image", "oracle"),
    },
)
