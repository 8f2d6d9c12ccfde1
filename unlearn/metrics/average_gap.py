"""One number for the distance to the oracle: the average gap of SalUn (arXiv:2310.12508, section 6)."""

from unlearn.evaluation import ClassifierEvaluator, ClassifierEvidence, Scores
from unlearn.metrics import efficacy
from unlearn.metrics.base import Metric


def pillars(evaluator: ClassifierEvaluator, evidence: ClassifierEvidence) -> list[float]:
    """SalUn's four: unlearning accuracy (1 - accuracy on train-forget), accuracy on train-retain, accuracy on
    test-retain, MIA efficacy; shares in [0, 1]."""
    accuracies = [
        evidence.correct(split, part).double().mean().item()
        for split, part in (("train", "forget"), ("train", "retain"), ("test", "retain"))
    ]
    return [
        1 - accuracies[0],
        *accuracies[1:],
        efficacy.compute(evaluator, evidence, evidence)["mia_efficacy"],
    ]


def compute(
    evaluator: ClassifierEvaluator, evidence: ClassifierEvidence, oracle: ClassifierEvidence
) -> Scores:
    """average_gap: mean of the absolute gaps of the four to the oracle's, a share; 0 is the oracle.

    Fooled: it reads answers only, so a masked head, which keeps all features of the forgotten class, comes out near 0.
    """
    both = zip(pillars(evaluator, evidence), pillars(evaluator, oracle), strict=True)
    gaps = [abs(own - wanted) for own, wanted in both]
    return {"average_gap": sum(gaps) / len(gaps)}


METRIC = Metric(
    "classifier",
    {"average_gap": float},
    compute,
    blind_spot="it reads answers only, so a masked head, which keeps all features of the class, comes out near 0.",
)
