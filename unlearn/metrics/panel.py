"""The judges themselves: how good they are on real images, and what they read where there is nothing (their floor)."""

from unlearn.evaluation import GeneratorEvaluator, GeneratorEvidence, Scores
from unlearn.generators.judges import floors
from unlearn.metrics.base import Metric
from unlearn.streams import stream


def compute(
    evaluator: GeneratorEvaluator, evidence: GeneratorEvidence, oracle: GeneratorEvidence
) -> Scores:
    """One entry a reporting judge (`lead`, then the plain ones): accuracy on real test images, and the mean probability
    it gives the forgotten classes on pure noise and on flat mid-grey. No forgetting can be read below a judge's floor.
    """
    names = ["lead", *evaluator.plain]
    shape, classes = evaluator.dataset.shape, evaluator.dataset.classes
    device = evaluator.dataset.test.x.device
    read = [
        floors(evaluator.judges[name], shape, classes, stream(0, "floor", device=device))
        for name in names
    ]

    def forgotten(of: list[float]) -> float:
        return sum(of[label] for label in evaluator.forget) / len(evaluator.forget)

    return {
        "judge_test_accuracy": [evaluator.judge_accuracy[name] for name in names],
        "judge_noise_floor": [forgotten(floor["noise"]) for floor in read],
        "judge_grey_floor": [forgotten(floor["grey"]) for floor in read],
    }


METRIC = Metric(
    "generator",
    {"judge_test_accuracy": list, "judge_noise_floor": list, "judge_grey_floor": list},
    compute,
    of_the_model=False,
)
