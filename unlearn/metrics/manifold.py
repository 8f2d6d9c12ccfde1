"""Precision, recall, density and coverage of a generator's images of the kept classes."""

import torch
from torch import Tensor

from unlearn.columns import Scale
from unlearn.errors import require
from unlearn.evaluation import GeneratorEvaluator, GeneratorEvidence, Scores
from unlearn.metrics.base import Metric

NEIGHBOURS = 5  # k of the papers
MOST = 500  # images per class that are compared; the cost grows with the square


def radii(x: Tensor, k: int) -> Tensor:
    """Compute the distance of each feature (n, d) to its k-th nearest other one, (n,)."""
    require(len(x) > k, f"{len(x)} images have no {k}-th neighbour; give more than {k} per class")
    return torch.cdist(x, x).kthvalue(k + 1, dim=1).values


def manifold(real: Tensor, fake: Tensor, k: int = NEIGHBOURS) -> dict[str, float]:
    """Compare features `real` (n, d) and `fake` (m, d) by their `k` nearest neighbours.

    precision, recall: shares in [0, 1] (arXiv:1904.06991)
    density: at least 0, may exceed 1 (arXiv:2002.09797)
    coverage: a share in [0, 1] (arXiv:2002.09797)
    """
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
    """Compare generated with real test images by their neighbours in the lead judge's features.

    retain_precision: share of generated images among the real ones, 0 to 1
    retain_recall: share of real images among the generated ones, 0 to 1
    retain_density: real neighbourhoods per generated image, divided by k; may exceed 1
    retain_coverage: share of real images with a generated image in their neighbourhood, 0 to 1

    Means over the kept classes, of up to 500 generated against up to 500 real images per class,
    with k = 5.
    """
    found = []
    for label in evaluator.kept:
        real = evaluator.real_features[label][:MOST].double()
        fake = evidence.test.features[label][:MOST].double()
        found.append(manifold(real, fake))
    scores: Scores = {}
    for name in found[0]:
        scores[f"retain_{name}"] = sum(values[name] for values in found) / len(found)
    return scores


METRIC = Metric(
    "generator",
    {f"retain_{name}": float for name in ("precision", "recall", "density", "coverage")},
    compute,
    scales={"retain_density": Scale("ratio", "higher"), "*": Scale("share", "higher")},
)
