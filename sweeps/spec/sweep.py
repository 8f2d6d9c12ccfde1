"""A sweep as a spec file says it, checked key by key before anything is spent."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from itertools import islice, product
from typing import Any

from unlearn.attacks.classifiers import ATTACKS, Attack, make_attack
from unlearn.attacks.generators import PROBES
from unlearn.data import DATASETS
from unlearn.errors import BadInput, lookup, require, unknown_keys
from unlearn.generators.judges import panel
from unlearn.methods import KNOBS, METHODS, make_method
from unlearn.models import task_of
from unlearn.splits import check_forget
from unlearn.train import SCHEDULES, Training

ON: dict[str, dict[str, Any]] = {"generator": dict(PROBES), "classifier": dict(ATTACKS)}
EXPERT_NORMS = {"original": "the original's running statistics", "batch": "each batch's own"}


@dataclass(frozen=True)
class Train(Training):
    """How originals and oracles are made, and from them experts (fine-tuned on the forget set alone, at a rate and on a
    schedule of their own, without label smoothing; `experts` of them for a method that wants several), the Fisher and
    the judges.

    expert_norms: an expert's batch norms take the `original`'s running statistics, or, as in the references, those of
    each `batch`, which are the forgotten class's alone: there it starts out wrong and learns to mend that.
    """

    expert_steps: int = 60
    expert_lr: float = 1e-4
    expert_schedule: str = "one-cycle"
    expert_norms: str = "original"
    experts: int = 3
    fisher_samples: int = 10_000
    judge_steps: int = 600

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("expert_steps", "experts", "fisher_samples", "judge_steps"):
            require(
                getattr(self, name) >= 1,
                f"train.{name} must be at least 1, not {getattr(self, name)}",
            )
        require(self.expert_lr > 0, f"train.expert_lr must be above 0, not {self.expert_lr}")
        lookup("train.expert_norms", self.expert_norms, EXPERT_NORMS)
        lookup("train.expert_schedule", self.expert_schedule, SCHEDULES)


CANDIDATES = {"full": "every score of every cell", "val": "val alone, and the chosen cell in full"}


@dataclass(frozen=True)
class Evaluation:
    """`samples` generated images a label; `judges` plain judges beside the two reject-aware ones; `attacks` by name, a
    generator's at `effort` times the references' optimisation steps, a classifier's with `attack_knobs` (JSON: attack
    -> knob -> value, of what is not the default).

    candidates: `full` scores every cell in full; `val` reads classifiers on val alone, only as long as a cell can still
    win, and then confirms the chosen one of each model x forget set x seed in a row of its own.
    """

    samples: int = 1000
    judges: int = 2
    attacks: tuple[str, ...] = ()
    attack_knobs: str = "{}"
    effort: float = 1.0
    candidates: str = "full"

    def __post_init__(self) -> None:
        lookup("eval.candidates", self.candidates, CANDIDATES)
        require(self.effort > 0, f"eval.effort must be above 0, not {self.effort}")
        require(self.samples >= 10, f"eval.samples must be at least 10, not {self.samples}")
        panel(self.judges)

    def attack(self, name: str) -> Attack:
        """An attack on classifiers, with its knobs."""
        return make_attack(name, json.loads(self.attack_knobs).get(name, {}))


@dataclass(frozen=True)
class Resources:
    """Of one trial; `cells_per_trial` 0 means auto: packs grow until one lasts seconds."""

    cpu: float = 1
    gpu: float = 0
    cells_per_trial: int = 0

    def __post_init__(self) -> None:
        require(self.cpu > 0, f"resources.cpu must be above 0, not {self.cpu}")
        require(self.gpu >= 0, f"resources.gpu must be at least 0, not {self.gpu}")
        require(
            self.gpu <= 1 or float(self.gpu).is_integer(),
            f"resources.gpu above 1 must be a whole number, not {self.gpu}; Ray shares one GPU, never several",
        )
        require(
            self.cells_per_trial >= 0,
            f"resources.cells_per_trial must be auto or 1 and more, not {self.cells_per_trial}",
        )


SAMPLERS = ("tpe", "random")


@dataclass(frozen=True)
class Search:
    """An Optuna study a model x forget set x seed (x method): forget down and retain up, on `val_*` alone.

    `space`: knob -> (low, high) of a knob that is a float or an integer, else a tuple of names to choose from.
    """

    trials: int
    space: tuple[tuple[str, tuple[Any, ...]], ...]
    sampler: str = "tpe"
    seed: int = 0

    def __post_init__(self) -> None:
        require(self.trials >= 1, f"search.trials must be at least 1, not {self.trials}")
        require(
            self.sampler in SAMPLERS,
            f"unknown search.sampler {self.sampler!r}; known: {', '.join(SAMPLERS)}",
        )
        require(
            len(self.space) > 0, "search.space is empty; name at least one knob and its [low, high]"
        )
        for knob, choices in self.space:
            require(
                len(choices) >= 2,
                f"search.space.{knob} needs [low, high] or two names, not {list(choices)}",
            )
            if KNOBS.get(knob) in (int, float):
                require(
                    _is_range(choices, KNOBS[knob]),
                    f"search.space.{knob} must be [low, high] of {KNOBS[knob].__name__}s with low < high, "
                    f"not {list(choices)}",
                )
        if self.finite:
            size = len(list(islice(self.points(), self.trials)))
            require(
                size == self.trials,
                f"search.trials is {self.trials}, but search.space has only {size} points",
            )

    def points(self) -> Iterator[dict[str, Any]]:
        """Every point of a finite space."""
        names = [knob for knob, _ in self.space]
        for values in product(*(_span(knob, choices) for knob, choices in self.space)):
            yield dict(zip(names, values, strict=True))

    def contains(self, point: Mapping[Any, Any]) -> bool:
        """Whether the point lies in the space; one with a null never does."""
        return all(_within(knob, choices, point[knob]) for knob, choices in self.space)

    @property
    def finite(self) -> bool:
        """Whether no knob is a float, nor one that nobody knows, which `Sweep` refuses by name."""
        return not any(KNOBS.get(knob, float) is float for knob, _ in self.space)


def _is_range(choices: tuple[Any, ...], kind: type) -> bool:
    """Two numbers, the lower one first, both whole where `kind` is int."""
    numbers = all(
        isinstance(choice, int | float) and not isinstance(choice, bool) for choice in choices
    )
    if not numbers or len(choices) != 2 or not choices[0] < choices[1]:
        return False
    return kind is float or all(float(choice).is_integer() for choice in choices)


def _within(knob: str, choices: tuple[Any, ...], value: Any) -> bool:
    return (
        bool(choices[0] <= value <= choices[1]) if KNOBS[knob] in (int, float) else value in choices
    )


def _span(knob: str, choices: tuple[Any, ...]) -> Iterable[Any]:
    return range(int(choices[0]), int(choices[1]) + 1) if KNOBS[knob] is int else choices


Knobs = tuple[tuple[str, Any], ...]
FILES = ("weights", "pretrained")  # options of a model's builder that may name a file


@dataclass(frozen=True)
class Sweep:
    """What one document of a spec file says."""

    name: str
    dataset: str
    models: tuple[str, ...]
    methods: tuple[str, ...]
    forget: tuple[tuple[int, ...], ...]
    seeds: tuple[int, ...]
    train: tuple[tuple[str, Train], ...]  # by model
    options: Knobs = ()
    unlearn: Knobs = ()
    grid: tuple[tuple[str, tuple[Any, ...]], ...] = ()
    search: tuple[tuple[str, Search], ...] = ()  # by method
    eval: Evaluation = field(default_factory=Evaluation)
    resources: Resources = field(default_factory=Resources)

    def __post_init__(self) -> None:
        require(
            self.name != "" and all(ch.isalnum() or ch in "-_." for ch in self.name),
            f"name {self.name!r} may hold letters, digits, '-', '_' and '.' only",
        )
        source = lookup("data set", self.dataset, DATASETS)
        for axis in ("models", "methods", "forget", "seeds"):
            require(
                len(getattr(self, axis)) > 0,
                f"empty axis {axis!r} in sweep {self.name}; give at least one value",
            )
        for name in self.methods:
            lookup("method", name, METHODS)
        for model in self.models:
            self._check_task(model, task_of(model))
        for labels in self.forget:
            check_forget(labels, source.classes)
        self._check_knobs()

    def _check_task(self, model: str, task: str) -> None:
        require(
            task == "classifier" or self.eval.candidates == "full",
            f"eval.candidates val is for classifiers, but model {model} is a {task}; leave it out",
        )
        require(
            task == "generator" or self.eval.effort == 1,
            f"eval.effort is for attacks on generators, but model {model} is a {task}; leave it out",
        )
        for attack in self.eval.attacks:
            lookup(f"attack on a {task}", attack, ON[task])
        for name in self.methods:
            fit = METHODS[name].tasks
            require(
                task in fit,
                f"method {name} is for {' and '.join(fit)}s, but model {model} is a {task}",
            )

    def _check_knobs(self) -> None:
        """Every value of every axis must make a method; every knob must belong to one of the methods."""
        allowed = sorted({f.name for name in self.methods for f in fields(METHODS[name])})
        spaces = [(name, search.space) for name, search in self.search]
        for place, knobs in (
            ("unlearn", self.unlearn),
            ("grid", self.grid),
            *(("search.space", s) for _, s in spaces),
        ):
            unknown_keys(f"{place} of sweep {self.name}", dict(knobs), allowed)
        twice = sorted({knob for _, space in spaces for knob, _ in space} & dict(self.grid).keys())
        require(not twice, f"{' and '.join(twice)} stands in both grid and search.space; keep one")
        for knob, values in self.grid:
            require(len(values) > 0, f"empty axis grid.{knob}; give at least one value")
        for name, point in self._ends():
            self.knobs_of(name, point)

    def _ends(self) -> Iterator[tuple[str, Knobs]]:
        """Every method at every point of the grid, and there at both ends of every axis of its search, and at every
        corner of them all: what one axis allows may not go with what another does."""
        for name in self.methods:
            space = dict(self.search)[name].space if self.search else ()
            axes = [[(knob, value) for value in values] for knob, values in space]
            ends: list[Knobs] = [(end,) for axis in axes for end in axis]
            for point in product(
                *(((knob, value) for value in values) for knob, values in self.grid)
            ):
                for end in (*ends, *product(*axes)):
                    yield name, (*point, *end)

    def knobs_of(self, method: str, chosen: Knobs) -> dict[str, Any]:
        """All knobs of the method: chosen over fixed over default. Refuses values out of range."""
        own = {f.name for f in fields(METHODS[method])}
        given = {
            key: value
            for key, value in {**dict(self.unlearn), **dict(chosen)}.items()
            if key in own
        }
        try:
            made = make_method(method, given)
        except BadInput as error:
            raise BadInput(f"{method} at {given}: {error}") from error
        return {key: getattr(made, key) for key in sorted(own)}
