"""The shape of a metric."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module

from unlearn.columns import Column, Scale, scale_of
from unlearn.docstrings import lines_of, meaning_of, papers_in
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
    scales: unit and direction by column or pattern (`*_accuracy`); the name goes before a pattern
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
    scales: Mapping[str, Scale] = field(default_factory=dict)
    floor: tuple[str, ...] = ()

    def entries(self, name: str) -> list[Column]:
        """Return the entries of its own columns; their meanings are those of `compute`'s docstring.

        name: under which the metric is registered
        """
        text = self.compute.__doc__ or ""
        module = import_module(self.compute.__module__)
        told = lines_of(text, self.columns)
        papers = papers_in(module.__doc__, text)
        source = f"metric {name}" + (f" ({papers})" if papers else "")
        entries = []
        for column, kind in self.columns.items():
            scale = scale_of(column, self.scales)
            entries.append(Column(column, kind, meaning_of(column, told), scale, source))
        return entries
