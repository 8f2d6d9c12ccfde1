"""Diversity of a generator's images of the kept classes: many different ones, or one good one?"""

import torch
from torch import Tensor

from unlearn.columns import Scale
from unlearn.evaluation import GeneratorEvaluator, GeneratorEvidence, Scores
from unlearn.metrics.base import Metric


def spread(x: Tensor) -> float:
    """Compute the root mean squared distance of x (n, ...) to its mean.

    That is the square root of the trace of the covariance.
    """
    return x.double().flatten(1).var(0).sum().sqrt().item()


def compute(
    evaluator: GeneratorEvaluator, evidence: GeneratorEvidence, oracle: GeneratorEvidence
) -> Scores:
    """Compute the spread of generated images over that of real test images; 1 is as diverse.

    Means over the kept classes.

    retain_diversity: in the lead judge's features
    retain_pixel_diversity: in pixels; a decoder's mean is smoother than a photograph, so even a
        perfect VAE stays below 1
    """
    test, drawn = evaluator.dataset.test, evidence.test
    features, pixels = [], []
    for label in evaluator.kept:
        real_features = evaluator.real_features[label]
        features.append(spread(drawn.features[label]) / spread(real_features))
        real = test.x[test.y == label].float() / 255
        pixels.append(spread(drawn.images[label]) / spread(real))
    return {
        "retain_diversity": torch.tensor(features).mean().item(),
        "retain_pixel_diversity": torch.tensor(pixels).mean().item(),
    }


METRIC = Metric(
    "generator",
    {"retain_diversity": float, "retain_pixel_diversity": float},
    compute,
    scales={"*": Scale("ratio", "higher")},
)
