"""The average gap to the oracle, of SalUn (arXiv:2310.12508, section 6)."""

from math import prod

from unlearn.columns import Scale
from unlearn.evaluation import ClassifierEvaluator, ClassifierEvidence, Scores
from unlearn.metrics.base import Metric
from unlearn.metrics.efficacy import compute as compute_efficacy


def pillars(evaluator: ClassifierEvaluator, evidence: ClassifierEvidence) -> list[float]:
    """Compute SalUn's four figures, shares in [0, 1].

    These are unlearning accuracy (1 - accuracy on train-forget), accuracy on train-retain, accuracy
    on test-retain, and MIA efficacy.
    """
    accuracies = []
    for split, part in (("train", "forget"), ("train", "retain"), ("test", "retain")):
        accuracies.append(evidence.correct(split, part).double().mean().item())
    mia_efficacy = compute_efficacy(evaluator, evidence, evidence)["mia_efficacy"]
    return [1 - accuracies[0], *accuracies[1:], mia_efficacy]


def compute(
    evaluator: ClassifierEvaluator, evidence: ClassifierEvidence, oracle: ClassifierEvidence
) -> Scores:
    """Compare SalUn's four figures with the oracle's.

    average_gap: the mean absolute gap of the four, a share in [0, 1]; 0 is the oracle
    tow: tug of war (arXiv:2406.01257), the product of 1 - |gap to the oracle's accuracy| over
        train-forget, train-retain and test-retain, a share in [0, 1]; 1 is the oracle

    It reads answers only, so a masked head, which keeps all
    features of the forgotten class, is near 0.
    """
    own, wanted = pillars(evaluator, evidence), pillars(evaluator, oracle)
    gaps = [abs(a - b) for a, b in zip(own, wanted, strict=True)]
    return {"average_gap": sum(gaps) / len(gaps), "tow": prod(1 - gap for gap in gaps[:3])}


METRIC = Metric(
    "classifier",
    {"average_gap": float, "tow": float},
    compute,
    blind_spot=(
        "it reads answers only, so a masked head, which keeps all features of the class, comes out "
        "near 0."
    ),
    scales={"average_gap": Scale("share", "lower"), "tow": Scale("share", "higher")},
    floor=("average_gap", "tow"),
)
