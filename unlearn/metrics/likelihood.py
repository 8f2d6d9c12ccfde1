"""How well a generator explains real digits: of the kept classes it should, of the forgotten ones it should not."""

from unlearn.evaluation import GeneratorEvidence, GeneratorSetting, Scores
from unlearn.metrics.base import Metric


def compute(setting: GeneratorSetting, evidence: GeneratorEvidence, oracle: GeneratorEvidence) -> Scores:
    """retain_elbo, forget_elbo: evidence lower bound of up to 100 real test images a class under their own label, mean
    over the kept and over the forgotten classes, nats an image, higher is better (arXiv:1312.6114)."""
    return {
        "retain_elbo": evidence.bounds[setting.kept].mean().item(),
        "forget_elbo": evidence.bounds[list(setting.forget)].mean().item(),
    }


METRIC = Metric("generator", {"retain_elbo": float, "forget_elbo": float}, compute)
