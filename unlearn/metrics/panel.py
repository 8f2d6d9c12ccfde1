"""The judges: their accuracy on real images, and what they read in empty ones (their floor)."""

from unlearn.columns import Scale
from unlearn.evaluation import GeneratorEvaluator, GeneratorEvidence, Scores
from unlearn.generators.judges import floors
from unlearn.metrics.base import Metric
from unlearn.streams import stream


def compute(
    evaluator: GeneratorEvaluator, evidence: GeneratorEvidence, oracle: GeneratorEvidence
) -> Scores:
    """Describe each reporting judge: one entry per judge, `lead` first, then the plain ones.

    judge_test_accuracy: accuracy on real test images; a reject counts as wrong
    judge_faint_accuracy: the same on 1,000 of them at 60 % contrast; a judge that is far worse
        there reads contrast, and takes a faded class for a forgotten one
    judge_noise_floor: mean probability of the forgotten classes on pure noise
    judge_grey_floor: mean probability of the forgotten classes on flat mid-grey

    A judge cannot show forgetting below its floor.
    """
    names = ["lead", *evaluator.plain]
    data = evaluator.dataset
    device = data.test.x.device
    found = []
    for name in names:
        noise = stream(0, "floor", device=device)
        found.append(floors(evaluator.judges[name], data.shape, data.classes, noise))

    def of_forgotten(by_class: list[float]) -> float:
        return sum(by_class[label] for label in evaluator.forget) / len(evaluator.forget)

    return {
        "judge_test_accuracy": [evaluator.judge_accuracy[name] for name in names],
        "judge_faint_accuracy": [evaluator.judge_faint_accuracy[name] for name in names],
        "judge_noise_floor": [of_forgotten(floor["noise"]) for floor in found],
        "judge_grey_floor": [of_forgotten(floor["grey"]) for floor in found],
    }


METRIC = Metric(
    "generator",
    {
        "judge_test_accuracy": list,
        "judge_faint_accuracy": list,
        "judge_noise_floor": list,
        "judge_grey_floor": list,
    },
    compute,
    of_the_model=False,
    scales={"*_accuracy": Scale("share", "higher"), "*_floor": Scale("share", "lower")},
)
