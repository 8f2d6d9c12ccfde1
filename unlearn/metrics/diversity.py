"""Does a generator still draw many different images of a kept class, or one good one?"""

import torch
from torch import Tensor

from unlearn.evaluation import GeneratorEvaluator, GeneratorEvidence, Scores
from unlearn.metrics.base import Metric


def spread(x: Tensor) -> float:
    """Root mean squared distance of x (n, ...) to its mean: the square root of the covariance's trace."""
    return x.double().flatten(1).var(0).sum().sqrt().item()


def compute(
    evaluator: GeneratorEvaluator, evidence: GeneratorEvidence, oracle: GeneratorEvidence
) -> Scores:
    """Spread of generated images over spread of real test images, mean over the kept classes; 1 is as diverse as life.

    retain_diversity: in the lead judge's features; retain_pixel_diversity: in pixels (a decoder's mean is smoother than
    a photograph, so even a perfect VAE stays below 1 there).
    """
    test = evaluator.dataset.test
    features, pixels = [], []
    for label in evaluator.kept:
        features.append(
            spread(evidence.test.features[label]) / spread(evaluator.real_features[label])
        )
        real = test.x[test.y == label].float() / 255
        pixels.append(spread(evidence.test.images[label]) / spread(real))
    return {
        "retain_diversity": torch.tensor(features).mean().item(),
        "retain_pixel_diversity": torch.tensor(pixels).mean().item(),
    }


METRIC = Metric("generator", {"retain_diversity": float, "retain_pixel_diversity": float}, compute)
