"""How many images stand behind the shares of a row, which bounds their intervals from below."""

from unlearn.columns import Scale
from unlearn.evaluation import (
    ClassifierEvaluator,
    ClassifierEvidence,
    GeneratorEvaluator,
    GeneratorEvidence,
    Scores,
)
from unlearn.metrics.base import Metric


def drawn(
    evaluator: GeneratorEvaluator, evidence: GeneratorEvidence, oracle: GeneratorEvidence
) -> Scores:
    """Count the images that a generator's shares are taken over.

    forget_images: images drawn under forgotten labels
    retain_images: images drawn under kept labels
    """
    samples = evaluator.samples
    return {
        "forget_images": float(samples * len(evaluator.forget)),
        "retain_images": float(samples * len(evaluator.kept)),
    }


def read(
    evaluator: ClassifierEvaluator, evidence: ClassifierEvidence, oracle: ClassifierEvidence
) -> Scores:
    """Count the test images that a classifier's shares are taken over.

    test_forget_images: test images of forgotten classes
    test_retain_images: test images of kept classes
    """
    return {
        "test_forget_images": float(len(evidence.labels["test", "forget"])),
        "test_retain_images": float(len(evidence.labels["test", "retain"])),
    }


DRAWN = Metric(
    "generator",
    {"forget_images": float, "retain_images": float},
    drawn,
    of_the_model=False,
    scales={"*": Scale("images")},
)
READ = Metric(
    "classifier",
    {"test_forget_images": float, "test_retain_images": float},
    read,
    of_the_model=False,
    blind_spot="it describes the test images, not the model.",
    scales={"*": Scale("images")},
)
