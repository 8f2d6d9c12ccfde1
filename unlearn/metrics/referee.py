"""What an independent judge reads: how much of a score is the judge's own."""

from unlearn.columns import Scale
from unlearn.evaluation import GeneratorEvaluator, GeneratorEvidence, Scores
from unlearn.metrics.base import Metric
from unlearn.metrics.judged import READ_BY_ONE, read_by


def compute(
    evaluator: GeneratorEvaluator, evidence: GeneratorEvidence, oracle: GeneratorEvidence
) -> Scores:
    """Compute what the `referee` reads in the images that `lead` reads; null without one.

    The referee is reject-aware too, but of another network, another seed and other data
    (`eval: {referee: DATASET}`). Intervals span what both read.

    referee_*: the column of that name, as the referee reads it
    """
    names = [name for name, kind in READ_BY_ONE.items() if kind is float]
    if "referee" not in evaluator.judges:
        return {f"referee_{name}": None for name in names}
    scores = read_by(evaluator, evidence.test, "referee")
    return {f"referee_{name}": scores[name] for name in names}


METRIC = Metric(
    "generator",
    {f"referee_{name}": kind for name, kind in READ_BY_ONE.items() if kind is float},
    compute,
    scales={
        "*_forget_*": Scale("share", "oracle"),
        "*_leak_*": Scale("share", "lower"),
        "*": Scale("share", "higher"),
    },
)
