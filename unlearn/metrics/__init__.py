"""Metrics: one file per metric, which names its columns and computes them from evidence.

`score` computes the same columns for three models: the unlearned one's have no prefix, those of the
original and of the oracle (trained without the forget set) are `original_*` and `oracle_*`. Where
there is a second oracle, from another seed, some of its columns stand in `second_oracle_*`: no
model can be asked to be nearer to the oracle than that.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from unlearn.columns import Column, merged
from unlearn.evaluation import Evaluator, Scores
from unlearn.metrics import (
    accuracy,
    average_gap,
    calibration,
    confusion,
    divergence,
    diversity,
    efficacy,
    entropy,
    frechet,
    images,
    judged,
    likelihood,
    manifold,
    membership,
    panel,
    referee,
    similarity,
    stretch,
    zrf,
)
from unlearn.metrics.base import Metric

SECOND_ORACLE = "second_oracle"  # prefix of the columns of an oracle of another seed

METRICS: dict[str, Metric] = {
    "judged": judged.METRIC,
    "panel": panel.METRIC,
    "referee": referee.METRIC,
    "stretch": stretch.METRIC,
    "frechet": frechet.METRIC,
    "manifold": manifold.METRIC,
    "diversity": diversity.METRIC,
    "likelihood": likelihood.METRIC,
    "accuracy": accuracy.METRIC,
    "entropy": entropy.METRIC,
    "divergence": divergence.METRIC,
    "membership": membership.METRIC,
    "efficacy": efficacy.METRIC,
    "average-gap": average_gap.METRIC,
    "zrf": zrf.METRIC,
    "confusion": confusion.METRIC,
    "calibration": calibration.METRIC,
    "similarity": similarity.METRIC,
    "images-drawn": images.DRAWN,
    "images-read": images.READ,
}


@dataclass(frozen=True)
class References:
    """What models of one task are scored against; its own scores are computed once.

    task: `generator` or `classifier`
    evaluator: what collected the evidence
    original, oracle: evidence of these models
    second: evidence of a second oracle; None where there is none, and no columns of it
    """

    task: str
    evaluator: Evaluator
    original: Any
    oracle: Any
    second: Any = None

    def _of_task(self) -> list[Metric]:
        return [metric for metric in METRICS.values() if metric.task == self.task]

    def _computed(self, metric: Metric, evidence: Any) -> Scores:
        others = (self.oracle, self.original) if metric.with_original else (self.oracle,)
        return metric.compute(self.evaluator, evidence, *others)

    @cached_property
    def scores(self) -> Scores:
        """The columns that are the same for every model: of the evaluator and of the references."""
        found: Scores = {}
        references = {"original": self.original, "oracle": self.oracle}
        for metric in self._of_task():
            if not metric.of_the_model:
                found |= self._computed(metric, self.oracle)
                continue
            for name, evidence in references.items():
                values = self._computed(metric, evidence)
                found |= {f"{name}_{column}": value for column, value in values.items()}
            if self.second is not None and metric.floor:
                values = self._computed(metric, self.second)
                found |= {f"{SECOND_ORACLE}_{column}": values[column] for column in metric.floor}
        return found

    def score(self, subject: Any) -> Scores:
        """Compute all columns of all metrics, from the evidence of the unlearned model."""
        found = dict(self.scores)
        for metric in self._of_task():
            if metric.of_the_model:
                found |= self._computed(metric, subject)
        return found


def score(
    task: str, evaluator: Evaluator, subject: Any, original: Any, oracle: Any, second: Any = None
) -> Scores:
    """Compute all columns of all metrics of `task`, from the evidence of the three models.

    second: evidence of a second oracle; None where there is none, and no columns of it
    """
    return References(task, evaluator, original, oracle, second).score(subject)


def entries() -> dict[str, Column]:
    """Return the entry of every column that `score` can return."""
    found: list[Column] = []
    for name, metric in METRICS.items():
        own = metric.entries(name)
        found += own
        if metric.of_the_model:
            for model in ("original", "oracle"):
                found += [entry.of(model) for entry in own]
        found += [entry.of(SECOND_ORACLE) for entry in own if entry.name in metric.floor]
    return merged(*found)


def columns() -> dict[str, type]:
    """List every column that `score` can return, with its type: `float` or `list` (of floats)."""
    return {name: entry.type for name, entry in entries().items()}
