"""How far a generator's kept images are from real ones, in the lead judge's features."""

import torch
from torch import Tensor

from unlearn.columns import Scale
from unlearn.evaluation import GeneratorEvaluator, GeneratorEvidence, Scores
from unlearn.metrics.base import Metric


def frechet_distance(a: Tensor, b: Tensor) -> float:
    """Compute the squared Frechet distance of two Gaussians, in float64 (arXiv:1706.08500).

    The Gaussians are fitted to features `a` (n, d) and `b` (m, d); the paper's features are
    Inception's. The distance is
    |mu_a - mu_b|^2 + tr(S_a + S_b - 2 (S_a^1/2 S_b S_a^1/2)^1/2).

    It is computed on the CPU: eigenvalues of a small matrix are many tiny steps, which gain nothing
    from a GPU and wait for others that share it.
    """
    a, b = a.cpu().double(), b.cpu().double()
    cov_a, cov_b = torch.cov(a.T), torch.cov(b.T)
    values, vectors = torch.linalg.eigh(cov_a)
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    cross = torch.linalg.eigvalsh(root @ cov_b @ root).clamp(min=0).sqrt().sum()
    means = (a.mean(0) - b.mean(0)).square().sum()
    distance = means + cov_a.trace() + cov_b.trace() - 2 * cross
    return float(distance.clamp(min=0).item())


def compute(
    evaluator: GeneratorEvaluator, evidence: GeneratorEvidence, oracle: GeneratorEvidence
) -> Scores:
    """Compute the distance of generated to real test images, in the lead judge's features.

    retain_frechet: mean over the kept classes, at least 0; 0 is equal
    """
    drawn, real = evidence.test.features, evaluator.real_features
    distances = [frechet_distance(drawn[label], real[label]) for label in evaluator.kept]
    return {"retain_frechet": sum(distances) / len(distances)}


METRIC = Metric(
    "generator",
    {"retain_frechet": float},
    compute,
    scales={"*": Scale("", "lower")},
    floor=("retain_frechet",),
)
