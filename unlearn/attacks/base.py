"""The protocol that every attack follows, on generators and on classifiers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Generator, Tensor

from unlearn.columns import Column, Scale, scale_of
from unlearn.docstrings import lines_of, meaning_of, papers_in
from unlearn.errors import require
from unlearn.evaluation import Scores
from unlearn.models import Weights
from unlearn.splits import Splits
from unlearn.train import Training

# The method that made a subject: (model, splits, generator) -> weights without the forget set.
Unlearn = Callable[[Any, Splits, Generator], Weights]
SECOND_ORACLE = "second_oracle"  # name of the reference model that only some problems have


@dataclass(frozen=True)
class Target:
    """The unlearning problem on which an attack works.

    name: name under which the attack is registered; a generator's columns and streams hold it
    evaluator: the problem's `Evaluator`; for generators it holds the judges
    splits: real images of the problem, forgotten and kept
    seed: source of all random streams of the attack
    effort: multiple of the optimisation steps of attacks on generators, above 0
    training: how the original was trained; None where that is unknown
    any_forgotten: whether an attack on generators succeeds with any forgotten class, or only with
        the one that the try wanted
    """

    name: str
    evaluator: Any
    splits: Splits
    seed: int
    effort: float = 1.0
    training: Training | None = None
    any_forgotten: bool = False


@dataclass(frozen=True)
class References:
    """What an attack makes once per problem and all subjects of that problem share.

    target: the problem
    prepared: what `Attack.prepare` returned
    found: what `Attack.run` returned for each reference model, by the model's name
    """

    target: Target
    prepared: Any
    found: Mapping[str, Any]


@dataclass(frozen=True)
class Findings:
    """What an attack found in one subject.

    scores: exactly the columns that the attack declares; a value that was not reached is None
    pictures: uint8 (rows, columns, channels, height, width); None for classifiers
    """

    scores: Scores
    pictures: Tensor | None = None


@dataclass(frozen=True)
class Attack:
    """An attack on models of one task, as a frozen dataclass. Its fields are its knobs.

    `attack.references(target, models)` runs once per problem; `attack(subject, references)` then
    attacks one subject. Models are in eval mode and stay untouched. All randomness follows from
    `target.seed`. A subject's values say little alone, so those of the reference models come along.

    A subclass checks its knobs in `__post_init__` and sets these class attributes:

    task: `generator` or `classifier`
    reference_models: names of the models that are attacked beside the subject
    model_columns: columns of one model, for the subject and for each reference model, with their
        types: `float` (None where it was not reached) or `list` (of floats)
    floor_columns: those of `model_columns` that a second oracle gets, where there is one
    subject_columns: columns that only the subject has, from its comparison with the oracle
    meanings: what each column means; {} where the lines of the class's docstring say so
    scales: unit and direction by column or pattern (`*_accuracy`); the name goes before a pattern
    blind_spot: which models get a good value without deserving it; a sentence for the report
    unlearns: whether it also runs the subject's method, on models of its own
    home: name under which its columns are bare; registered as `<home>-<variant>`, its columns begin
        with `<variant>_`. "" where a subclass names its columns otherwise
    """

    task: ClassVar[str]
    reference_models: ClassVar[tuple[str, ...]] = ("original", "oracle")
    model_columns: ClassVar[Mapping[str, type]] = {}
    subject_columns: ClassVar[Mapping[str, type]] = {}
    meanings: ClassVar[Mapping[str, str]] = {}
    scales: ClassVar[Mapping[str, Scale]] = {}
    floor_columns: ClassVar[tuple[str, ...]] = ()
    blind_spot: ClassVar[str] = ""
    unlearns: ClassVar[bool] = False
    home: ClassVar[str] = ""

    def columns(self, name: str) -> dict[str, type]:
        """List every column that the attack returns when it is registered as `name`."""
        return {entry.name: entry.type for entry in self.entries(name)}

    def entries(self, name: str) -> list[Column]:
        """Return the entries of these columns."""
        own = {**self.model_columns, **self.subject_columns}
        text = type(self).__doc__ or ""
        told = self.meanings or lines_of(text, own)
        papers = papers_in(text)
        source = f"attack {name}" + (f" ({papers})" if papers else "")
        entries: dict[str, Column] = {}
        for column, kind in own.items():
            scale = scale_of(column, self.scales)
            called = self.column(name, column)
            entries[column] = Column(called, kind, meaning_of(column, told), scale, source)
        found = list(entries.values())
        for model in self.reference_models:
            found += [entries[column].of(model) for column in self.model_columns]
        found += [entries[column].of(SECOND_ORACLE) for column in self.floor_columns]
        return found

    def references(self, target: Target, models: Mapping[str, Any]) -> References:
        """Prepare what all subjects of `target` share, from the reference models by name."""
        prepared = self.prepare(target, models["original"])
        names = [*self.reference_models, *(name for name in models if name == SECOND_ORACLE)]
        found = {name: self.run(target, models[name], prepared) for name in names}
        return References(target, prepared, found)

    def __call__(
        self, subject: Any, references: References, unlearn: Unlearn | None = None
    ) -> Findings:
        """Attack `subject`; return its columns beside those of the reference models.

        unlearn: the method that made the subject, for an attack that `unlearns`; None for none
        """
        target, prepared = references.target, references.prepared
        if unlearn is not None:
            prepared = self.prepared_for(target, prepared, unlearn)
        own = self.run(target, subject, prepared)
        scores = self.report(references.target.name, own, references.found)
        return Findings(scores, self.pictures(own))

    def report(self, name: str, own: Any, found: Mapping[str, Any]) -> Scores:
        """Fill the columns, from what `run` returned for the subject and the reference models."""
        values = self.measure(own) | self.compare(own, found["oracle"])
        scores = {self.column(name, column): value for column, value in values.items()}
        for model in self.reference_models:
            for column, value in self.measure(found[model]).items():
                scores[f"{model}_{self.column(name, column)}"] = value
        second = self.measure(found[SECOND_ORACLE]) if SECOND_ORACLE in found else {}
        for column in self.floor_columns:
            scores[f"{SECOND_ORACLE}_{self.column(name, column)}"] = second.get(column)
        return scores

    def column(self, name: str, column: str) -> str:
        """Name `column` as it stands in a row."""
        stem = f"{self.home}-"
        if not self.home or not name.startswith(stem):
            return column
        variant = name.removeprefix(stem).replace("-", "_")
        return f"{variant}_{column}"

    def prepare(self, target: Target, original: Any) -> Any:
        """Make what every model is attacked with; most attacks need nothing."""

    def prepared_for(self, target: Target, prepared: Any, unlearn: Unlearn) -> Any:
        """Fit what `prepare` returned to the method that made a subject; most attacks do not."""
        return prepared

    def run(self, target: Target, model: Any, prepared: Any) -> Any:
        """Attack one model; return what `measure`, `compare` and `pictures` read."""
        raise TypeError(f"{type(self).__name__} must define run")

    def measure(self, found: Any) -> Scores:
        """Read the values of `model_columns` from what `run` returned."""
        values: Scores = found
        return values

    def compare(self, own: Any, oracle: Any) -> Scores:
        """Compute the values of `subject_columns` from the subject's finding and the oracle's."""
        return {}

    def pictures(self, found: Any) -> Tensor | None:
        """Take the pictures from what `run` returned; None where there are none."""
        return None


def check_at_least(lowest: float, attack: Attack, *knobs: str) -> None:
    """Refuse a knob below `lowest`, by name."""
    for knob in knobs:
        value = getattr(attack, knob)
        require(value >= lowest, f"{knob} must be at least {lowest}, not {value}")


def check_positive(attack: Attack, *knobs: str) -> None:
    """Refuse a knob that is not above 0, by name."""
    for knob in knobs:
        value = getattr(attack, knob)
        require(value > 0, f"{knob} must be above 0, not {value}")


def check_share(attack: Attack, *knobs: str) -> None:
    """Refuse a knob outside of [0, 1], by name."""
    for knob in knobs:
        value = getattr(attack, knob)
        require(0 <= value <= 1, f"{knob} must be between 0 and 1, not {value}")
