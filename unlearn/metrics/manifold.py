"""Are a generator's kept images among the real ones, and are the real ones among its images?"""

import torch
from torch import Tensor

from unlearn.errors import require
from unlearn.evaluation import GeneratorEvaluator, GeneratorEvidence, Scores
from unlearn.metrics.base import Metric

NEIGHBOURS, MOST = (
    5,
    500,
)  # k of the papers; images a class that are compared (cost grows with the square)


def radii(x: Tensor, k: int) -> Tensor:
    """Distance of each feature (n, d) to its k-th nearest other one, (n,)."""
    require(len(x) > k, f"{len(x)} images have no {k}-th neighbour; give more than {k} a class")
    return torch.cdist(x, x).kthvalue(k + 1, dim=1).values


def manifold(real: Tensor, fake: Tensor, k: int = NEIGHBOURS) -> dict[str, float]:
    """Of features `real` (n, d) and `fake` (m, d): precision, recall (arXiv:1904.06991), density, coverage
    (arXiv:2002.09797). Density may exceed 1; the others are shares in [0, 1]."""
    real_radius, fake_radius = radii(real, k), radii(fake, k)
    apart = torch.cdist(real, fake)
    near_real, near_fake = apart <= real_radius[:, None], apart <= fake_radius[None]
    return {
        "precision": near_real.any(0).float().mean().item(),
        "recall": near_fake.any(1).float().mean().item(),
        "density": near_real.float().sum(0).mean().item() / k,
        "coverage": near_real.any(1).float().mean().item(),
    }


def compute(
    evaluator: GeneratorEvaluator, evidence: GeneratorEvidence, oracle: GeneratorEvidence
) -> Scores:
    """retain_precision, retain_recall, retain_density, retain_coverage: means over the kept classes, in the lead
    judge's features, up to 500 generated against up to 500 real test images of the class, k = 5."""
    found = [
        manifold(
            evaluator.real_features[label][:MOST].double(),
            evidence.test.features[label][:MOST].double(),
        )
        for label in evaluator.kept
    ]
    return {f"retain_{name}": sum(of[name] for of in found) / len(found) for name in found[0]}


METRIC = Metric(
    "generator",
    {f"retain_{name}": float for name in ("precision", "recall", "density", "coverage")},
    compute,
)
