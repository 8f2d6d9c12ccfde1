"""What every attack shares: its shape, and nothing else."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from unlearn.evaluation import ClassifierSetting, Scores

NAMES = ("original", "oracle")


def beside(columns: Mapping[str, type]) -> dict[str, type]:
    """`columns`, and the same for the original and the oracle."""
    found = dict(columns)
    for name in NAMES:
        found |= {f"{name}_{column}": kind for column, kind in columns.items()}
    return found


@dataclass(frozen=True)
class Attack:
    """Called as `attack(setting, subject, original, oracle, seed)`: three classifiers in eval mode, which it leaves
    untouched. Returns exactly `columns`; an attack says little without the original's and the oracle's figures, so
    those come along. A value that was not reached is None. Knobs are the fields, checked in `__post_init__`.
    """

    task: ClassVar[str] = "classifier"
    columns: ClassVar[Mapping[str, type]] = {}
    fooled: ClassVar[str] = ""  # as a metric's

    def __call__(self, setting: ClassifierSetting, subject: Any, original: Any, oracle: Any, seed: int) -> Scores:
        raise TypeError(f"{type(self).__name__} must define __call__")
