"""What every attack shares: its shape, and nothing else."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from unlearn.evaluation import ClassifierEvaluator, Scores

NAMES = ("original", "oracle")


def beside(columns: Mapping[str, type]) -> dict[str, type]:
    """`columns`, and the same for the original and the oracle."""
    found = dict(columns)
    for name in NAMES:
        found |= {f"{name}_{column}": kind for column, kind in columns.items()}
    return found


@dataclass(frozen=True)
class References:
    """What is the same for every subject: what the attack prepared, what it found in the original and the oracle."""

    prepared: Any
    original: Scores
    oracle: Scores


@dataclass(frozen=True)
class Attack:
    """Called as `attack(setting, subject, references, seed)`, with what its `references(setting, original, oracle,
    seed)` found: classifiers in eval mode, which it leaves untouched. Returns exactly `columns`; an attack says little
    without the original's and the oracle's figures, so those come along. A value that was not reached is None. Knobs
    are the fields, checked in `__post_init__`.
    """

    task: ClassVar[str] = "classifier"
    columns: ClassVar[Mapping[str, type]] = {}
    blind_spot: ClassVar[str] = ""  # as a metric's

    def __call__(
        self, evaluator: ClassifierEvaluator, subject: Any, references: References, seed: int
    ) -> Scores:
        own = self.run(evaluator, subject, seed, references.prepared)
        beside = {"original": references.original, "oracle": references.oracle}
        others = {
            f"{name}_{column}": value for name in NAMES for column, value in beside[name].items()
        }
        return own | others | self.compare(own, references.oracle)

    def references(
        self, evaluator: ClassifierEvaluator, original: Any, oracle: Any, seed: int
    ) -> References:
        """What many subjects share that are attacked beside the same two models."""
        prepared = self.prepare(evaluator, original, seed)
        return References(
            prepared, *(self.run(evaluator, model, seed, prepared) for model in (original, oracle))
        )

    def prepare(self, evaluator: ClassifierEvaluator, original: Any, seed: int) -> Any:
        """What every model is attacked with, whatever it is; most need nothing."""

    def run(self, evaluator: ClassifierEvaluator, model: Any, seed: int, prepared: Any) -> Scores:
        """The columns of one model."""
        raise TypeError(f"{type(self).__name__} must define run")

    def compare(self, own: Scores, oracle: Scores) -> Scores:
        """Columns of a model's values beside the oracle's."""
        return {}
