"""A classifier's accuracy by split, part and class."""

from collections.abc import Sequence

import torch

from unlearn.columns import Scale
from unlearn.evaluation import ClassifierEvaluator, ClassifierEvidence, Scores
from unlearn.metrics.base import Metric

SPLITS, PARTS = ("train", "val", "test"), ("forget", "retain")
# Share of a part's images that are answered with a forgotten class: part -> column.
ANSWERED = {"forget": "forget_any_accuracy", "retain": "retain_leak_accuracy"}


def by_class(
    evaluator: ClassifierEvaluator, evidence: ClassifierEvidence, split: str
) -> list[float]:
    """Compute the share of right answers for every class, forgotten ones included."""
    correct = torch.cat([evidence.correct(split, part) for part in PARTS]).double()
    labels = torch.cat([evidence.labels[split, part] for part in PARTS])
    return [correct[labels == label].mean().item() for label in range(evaluator.classes)]


def answered(evidence: ClassifierEvidence, split: str, part: str, classes: Sequence[int]) -> float:
    """Compute the share of images that are answered with one of `classes`."""
    answers = evidence.logits[split, part].argmax(1)
    wanted = torch.tensor(list(classes), dtype=torch.long, device=answers.device)
    return torch.isin(answers, wanted).double().mean().item()


def compute(
    evaluator: ClassifierEvaluator, evidence: ClassifierEvidence, oracle: ClassifierEvidence
) -> Scores:
    """Compute accuracies on unaugmented images, shares in [0, 1].

    train_forget_accuracy, train_retain_accuracy: on up to 5,000 training images of each part
    val_forget_accuracy, val_retain_accuracy: on the val images of each part
    test_forget_accuracy, test_retain_accuracy: on the test images of each part
    val_class_accuracy, test_class_accuracy: on every class, forgotten ones included
    val_forget_any_accuracy, test_forget_any_accuracy: share of images of forgotten classes that are
        answered with any forgotten class; one that is taken for another is not forgotten
    val_retain_leak_accuracy, test_retain_leak_accuracy: share of images of kept classes that are
        answered with a forgotten class

    `val_*` may choose, `test_*` reports, `train_*` explains. Blind to a masked head, which knows
    the class and never answers it: it reads like the oracle.
    """
    scores: Scores = {}
    for split in SPLITS:
        for part in PARTS:
            correct = evidence.correct(split, part)
            scores[f"{split}_{part}_accuracy"] = correct.double().mean().item()
    for split in ("val", "test"):
        scores[f"{split}_class_accuracy"] = by_class(evaluator, evidence, split)
        for part, column in ANSWERED.items():
            share = answered(evidence, split, part, evaluator.forget)
            scores[f"{split}_{column}"] = share
    return scores


METRIC = Metric(
    "classifier",
    {
        **{f"{split}_{part}_accuracy": float for split in SPLITS for part in PARTS},
        "val_class_accuracy": list,
        "test_class_accuracy": list,
        **{f"{split}_{name}": float for split in ("val", "test") for name in ANSWERED.values()},
    },
    compute,
    blind_spot=(
        "a masked head, which knows the class and never says it, reads like the oracle; a wreck "
        "forgets too, and only its kept accuracy tells."
    ),
    scales={
        "*_leak_*": Scale("share", "lower"),
        "*_forget_*": Scale("share", "oracle"),
        "*": Scale("share", "higher"),
    },
    floor=("test_forget_accuracy", "test_retain_accuracy"),
)
