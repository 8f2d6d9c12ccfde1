"""The shape of a metric."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from unlearn.evaluation import Scores


@dataclass(frozen=True)
class Metric:
    """`compute(setting, evidence, oracle_evidence)` returns exactly `columns`.

    A metric that says something of the setting, not of the model (a judge's floor), has `of_the_model=False` and is
    computed once. One that compares with the original too has `with_original=True` and takes its evidence fourth.
    `fooled`: which models get a good value without deserving it, in a sentence for the report.
    """

    task: str
    columns: Mapping[str, type]
    compute: Callable[..., Scores]
    of_the_model: bool = True
    with_original: bool = False
    blind_spot: str = ""
