"""Confusion matrices, and what follows from them: where the forgotten class goes, and who pays for it."""

import torch
from torch import Tensor

from unlearn.evaluation import ClassifierEvaluator, ClassifierEvidence, Scores
from unlearn.metrics.base import Metric
from unlearn.metrics.divergence import js

TINY = 1e-300  # log 0 as a finite number


def confusion(evaluator: ClassifierEvaluator, evidence: ClassifierEvidence, split: str) -> Tensor:
    """Row: true class; column: answer; share of the row's images, double (classes, classes), rows sum to 1."""
    answers = torch.cat([evidence.logits[split, part].argmax(1) for part in ("forget", "retain")])
    labels = torch.cat([evidence.labels[split, part] for part in ("forget", "retain")])
    cells = torch.bincount(labels * evaluator.classes + answers, minlength=evaluator.classes**2)
    counts = cells.view(evaluator.classes, evaluator.classes).double()
    return counts / counts.sum(1, keepdim=True).clamp(min=1)


def answers_of_forgotten(evaluator: ClassifierEvaluator, evidence: ClassifierEvidence) -> Tensor:
    """Share of each answer among the test images of the forgotten classes, (classes,)."""
    answers = evidence.logits["test", "forget"].argmax(1)
    return torch.bincount(answers, minlength=evaluator.classes).double() / len(answers)


def nearest(evaluator: ClassifierEvaluator, oracle: ClassifierEvidence) -> list[int]:
    """For each forgotten class, the kept class that the oracle, who never saw it, takes it for (mean probability over
    its val images): what it looks like, decided without the test set and without the model under test."""
    probabilities, labels = (
        oracle.logits["val", "forget"].double().softmax(1),
        oracle.labels["val", "forget"],
    )
    kept = torch.tensor(evaluator.kept, device=labels.device)
    return [
        int(kept[probabilities[labels == label].mean(0)[kept].argmax()])
        for label in evaluator.forget
    ]


def over_forgetting(
    evaluator: ClassifierEvaluator, matrix: Tensor, near: list[int]
) -> float | None:
    """Mean over forgotten classes: mean accuracy of the kept classes but the nearest, minus the nearest's. None where
    only one is kept."""
    if len(evaluator.kept) == 1:
        return None
    right = matrix.diagonal()
    others = [[label for label in evaluator.kept if label != neighbour] for neighbour in near]
    gaps = [
        right[rest].mean() - right[neighbour] for rest, neighbour in zip(others, near, strict=True)
    ]
    return torch.stack(gaps).mean().item()


def compute(
    evaluator: ClassifierEvaluator, evidence: ClassifierEvidence, oracle: ClassifierEvidence
) -> Scores:
    """test_confusion: the matrix, row by row. forget_answers: where the forgotten test images go. semantic_shift: JS in
    nats of that distribution to the oracle's, at most ln 2. nearest_class: one a forgotten class. over_forgetting: in
    [-1, 1], above 0 where the neighbour pays; the original's own value, beside, is what a hard class costs anyway.

    semantic_shift is blind to everything but the forgotten classes: read it beside the retain accuracy.
    """
    matrix, near = confusion(evaluator, evidence, "test"), nearest(evaluator, oracle)
    own, wanted = answers_of_forgotten(evaluator, evidence), answers_of_forgotten(evaluator, oracle)
    shift = js(own.clamp(min=TINY).log()[None], wanted.clamp(min=TINY).log()[None]).clamp(min=0)
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
        "semantic_shift sees the forgotten images alone and puts a masked head nearer to the oracle than to the "
        "original; over_forgetting is blind to the mask too."
    ),
)
