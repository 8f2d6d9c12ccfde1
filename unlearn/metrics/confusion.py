"""Confusion matrices: what the forgotten class is taken for, and which kept class suffers."""

import torch
from torch import Tensor

from unlearn.columns import Scale
from unlearn.evaluation import ClassifierEvaluator, ClassifierEvidence, Scores
from unlearn.metrics.base import Metric
from unlearn.metrics.divergence import js

PARTS = ("forget", "retain")
TINY = 1e-300  # makes log 0 a finite number


def confusion(evaluator: ClassifierEvaluator, evidence: ClassifierEvidence, split: str) -> Tensor:
    """Compute the confusion matrix, double (classes, classes); rows sum to 1.

    Row: true class; column: answer; value: share of the row's images.
    """
    classes = evaluator.classes
    answers = torch.cat([evidence.logits[split, part].argmax(1) for part in PARTS])
    labels = torch.cat([evidence.labels[split, part] for part in PARTS])
    cells = torch.bincount(labels * classes + answers, minlength=classes**2)
    counts = cells.view(classes, classes).double()
    return counts / counts.sum(1, keepdim=True).clamp(min=1)


def answers_of_forgotten(evaluator: ClassifierEvaluator, evidence: ClassifierEvidence) -> Tensor:
    """Compute the share of each answer to test images of the forgotten classes, (classes,)."""
    answers = evidence.logits["test", "forget"].argmax(1)
    return torch.bincount(answers, minlength=evaluator.classes).double() / len(answers)


def nearest(evaluator: ClassifierEvaluator, oracle: ClassifierEvidence) -> list[int]:
    """Find for each forgotten class the kept class that it resembles most.

    That is the kept class to which the oracle, which never saw the forgotten one, gives the highest
    mean probability over its val images. So neither the test set nor the model under test decides.
    """
    probabilities = oracle.logits["val", "forget"].double().softmax(1)
    labels = oracle.labels["val", "forget"]
    kept = torch.tensor(evaluator.kept, device=labels.device)
    found = []
    for label in evaluator.forget:
        mean = probabilities[labels == label].mean(0)
        found.append(int(kept[mean[kept].argmax()]))
    return found


def over_forgetting(
    evaluator: ClassifierEvaluator, matrix: Tensor, near: list[int]
) -> float | None:
    """Compare the accuracy of the nearest kept class with that of the other kept classes.

    Mean over the forgotten classes of (mean accuracy of the kept classes except the nearest) minus
    (accuracy of the nearest), in [-1, 1]. None where only one class is kept, or none is forgotten
    as a whole.

    matrix: confusion matrix, (classes, classes)
    near: the nearest kept class of each forgotten class
    """
    if len(evaluator.kept) == 1 or not near:
        return None
    right = matrix.diagonal()
    gaps = []
    for neighbour in near:
        rest = [label for label in evaluator.kept if label != neighbour]
        gaps.append(right[rest].mean() - right[neighbour])
    return torch.stack(gaps).mean().item()


def compute(
    evaluator: ClassifierEvaluator, evidence: ClassifierEvidence, oracle: ClassifierEvidence
) -> Scores:
    """Compute the confusion matrix on test images, and what follows from it.

    test_confusion: the matrix, row by row
    forget_answers: share of each answer to test images of the forgotten classes
    semantic_shift: JS divergence in nats of these shares to the oracle's, 0 to ln 2
    nearest_class: the nearest kept class of each forgotten class
    over_forgetting: -1 to 1, above 0 where the nearest class lost more accuracy than the others;
        the original's own value shows what a hard class costs anyway

    semantic_shift depends on the forgotten classes only: read it beside the retain accuracy.
    """
    matrix, near = confusion(evaluator, evidence, "test"), nearest(evaluator, oracle)
    own, wanted = answers_of_forgotten(evaluator, evidence), answers_of_forgotten(evaluator, oracle)
    log_own, log_wanted = own.clamp(min=TINY).log(), wanted.clamp(min=TINY).log()
    shift = js(log_own[None], log_wanted[None]).clamp(min=0)
    return {
        "test_confusion": matrix.flatten().tolist(),
        "forget_answers": own.tolist(),
        "semantic_shift": shift.item(),
        "nearest_class": [float(label) for label in near],
        "over_forgetting": over_forgetting(evaluator, matrix, near),
    }


METRIC = Metric(
    "classifier",
    {
        "test_confusion": list,
        "forget_answers": list,
        "semantic_shift": float,
        "nearest_class": list,
        "over_forgetting": float,
    },
    compute,
    blind_spot=(
        "semantic_shift sees the forgotten images alone and puts a masked head nearer to the "
        "oracle than to the original; over_forgetting is blind to the mask too."
    ),
    scales={
        "semantic_shift": Scale("nats", "lower"),
        "nearest_class": Scale("class"),
        "over_forgetting": Scale("share", "oracle"),
        "*": Scale("share"),
    },
    floor=("semantic_shift",),
)
