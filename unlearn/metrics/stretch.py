"""What the leading judge reads at full contrast: a faint image may still show the class."""

import torch
from torch import Tensor

from unlearn.columns import Scale
from unlearn.evaluation import GeneratorEvaluator, GeneratorEvidence, Scores
from unlearn.generators.judges import read
from unlearn.metrics.base import Metric

MOST = 200  # images of each forgotten label that are stretched and read
ONE_LEVEL = 1 / 255  # of grey: an image that spans less shows nothing once it is stored


def stretched(images: Tensor) -> Tensor:
    """Stretch each image (n, channels, height, width) to span [0, 1]; leave flat ones alone."""
    low = images.amin((1, 2, 3), keepdim=True)
    span = images.amax((1, 2, 3), keepdim=True) - low
    return torch.where(span < ONE_LEVEL, images, (images - low) / span.clamp(min=ONE_LEVEL))


def compute(
    evaluator: GeneratorEvaluator, evidence: GeneratorEvidence, oracle: GeneratorEvidence
) -> Scores:
    """Compute what judge `lead` reads in images of forgotten labels, stretched to full contrast.

    Up to 200 images per forgotten label; shares in [0, 1].

    stretch_forget_probability: mean probability of all forgotten classes together
    stretch_forget_accuracy: share of images that are read as any forgotten class

    Read it beside forget_any_probability: where this is far higher, the class was faded, not
    forgotten. A grainy grey stretches to noise, which a reject-aware judge rejects.
    """
    forget = list(evaluator.forget)
    images = evidence.test.images[forget, :MOST].flatten(0, 1)
    probabilities, _ = read(evaluator.judges["lead"], stretched(images))
    wanted = torch.tensor(forget, device=images.device)
    shown = torch.isin(probabilities.argmax(1), wanted)
    return {
        "stretch_forget_probability": probabilities[:, forget].sum(1).mean().item(),
        "stretch_forget_accuracy": shown.float().mean().item(),
    }


METRIC = Metric(
    "generator",
    {"stretch_forget_probability": float, "stretch_forget_accuracy": float},
    compute,
    scales={"*": Scale("share", "oracle")},
    floor=("stretch_forget_probability", "stretch_forget_accuracy"),
)
