"""The shape of a metric."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from unlearn.evaluation import Scores


@dataclass(frozen=True)
class Metric:
    """A metric: its columns, and the function that computes them from evidence.

    task: `generator` or `classifier`
    columns: the columns that `compute` returns, exactly these, with their types: `float` or `list`
    compute: called as `compute(evaluator, evidence, oracle_evidence)`
    of_the_model: False where it describes the evaluator, not the model (a judge's floor); it is
        then computed once
    with_original: True where it also takes the original's evidence, as fourth argument
    blind_spot: which models get a good value without deserving it; a sentence for the report
    floor: columns that are also computed for a second oracle, where there is one: how far two
        oracles lie apart
    """

    task: str
    columns: Mapping[str, type]
    compute: Callable[..., Scores]
    of_the_model: bool = True
    with_original: bool = False
    blind_spot: str = ""
    floor: tuple[str, ...] = ()
