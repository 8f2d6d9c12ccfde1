"""A sweep as a spec file states it: every key is checked before anything is computed."""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from itertools import product
from typing import Any

from sweeps.spec.search import Search
from sweeps.spec.sections import Evaluation, Resources, Train
from unlearn.attacks import attacks_on
from unlearn.data import DATASETS, source_of
from unlearn.errors import BadInput, lookup, require, unknown_keys
from unlearn.forget_sets import Subset
from unlearn.knobs import typed
from unlearn.methods import METHODS, Method, make_method
from unlearn.models import task_of
from unlearn.splits import check_forget

Knobs = tuple[tuple[str, Any], ...]
LONGEST_NAME = 100  # of a sweep: a folder is called by it
LONGEST_NAME_BYTES = 240  # a file system allows a name of 255, "sweep=" included
MAX_CELLS = 1_000_000  # of a sweep
HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"
FILES = ("weights", "pretrained")  # options of a model's builder that may name a file


def _check_name(name: str) -> None:
    """Refuse a name that a folder cannot have, or that pandas would not read back as this text."""
    require(
        name != "" and all(ch.isalnum() or ch in "-_." for ch in name),
        f"name {name!r} may hold letters, digits, '-', '_' and '.' only",
    )
    require(
        any(ch.isalpha() for ch in name),
        f"name {name!r} needs a letter: pandas would read a folder of that name as a number",
    )
    is_hexadecimal = re.fullmatch("0[xX][0-9a-fA-F]+", name)
    require(
        not is_hexadecimal and name != HIVE_NULL,
        f"name {name!r} is a number, or no value, to readers of Parquet; choose another",
    )
    require(
        len(name) <= LONGEST_NAME and len(name.encode()) <= LONGEST_NAME_BYTES,
        f"name must have at most {LONGEST_NAME} characters and {LONGEST_NAME_BYTES} bytes, "
        f"not {len(name)} and {len(name.encode())}; shorten it",
    )


@dataclass(frozen=True)
class Sweep:
    """One document of a spec file.

    name: of the sweep: letters, digits, `-`, `_`, `.`
    dataset: by name
    models, methods: by name
    forget: sets of classes to forget, or of single training images
    seeds: whole numbers
    train: (model, how it is trained) pairs
    options: (name, value) pairs for the models' builder
    unlearn: (knob, value) pairs that hold for every cell
    grid: (knob, values) axes of the grid
    search: (method, its search) pairs; none for a grid alone
    eval: what is scored and attacked
    resources: what one trial is given

    Raises `BadInput` for an unknown name, an empty axis, a knob out of range at any point of the
    grid or end of a search space, and methods or attacks that do not fit a model's task.
    """

    name: str
    dataset: str
    models: tuple[str, ...]
    methods: tuple[str, ...]
    forget: tuple[tuple[int, ...] | Subset, ...]
    seeds: tuple[int, ...]
    train: tuple[tuple[str, Train], ...]
    options: Knobs = ()
    unlearn: Knobs = ()
    grid: tuple[tuple[str, tuple[Any, ...]], ...] = ()
    search: tuple[tuple[str, Search], ...] = ()
    eval: Evaluation = field(default_factory=Evaluation)
    resources: Resources = field(default_factory=Resources)

    def __post_init__(self) -> None:
        _check_name(self.name)
        source = source_of(self.dataset)
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
            if isinstance(labels, tuple):
                check_forget(labels, source.classes)
            else:
                self._check_subset(labels)
                labels.check(source.fine)
        self._check_knobs()
        self._check_size()
        self._check_ranges()

    def _check_task(self, model: str, task: str) -> None:
        require(
            task == "classifier" or self.eval.candidates == "full",
            f"eval.candidates val is for classifiers, but model {model} is a {task}; leave it out",
        )
        require(
            task == "generator" or self.eval.effort == 1,
            f"eval.effort is for attacks on generators, but model {model} is a {task}; "
            "leave it out",
        )
        require(
            task == "classifier" or not dict(self.train)[model].expert_accuracy,
            f"train.expert_accuracy is for experts of classifiers, but model {model} is a {task}; "
            "leave it out",
        )
        if self.eval.referee:
            self._check_referee(task)
        for attack in self.eval.attacks:
            known = lookup(f"attack on a {task}", attack, attacks_on(task))
            if known.unlearns:
                self._check_unlearns(attack)
        for name in self.methods:
            fit = METHODS[name].tasks
            require(
                task in fit,
                f"method {name} is for {' and '.join(fit)}s, but model {model} is a {task}",
            )

    def _check_subset(self, subset: Subset) -> None:
        generators = [model for model in self.models if task_of(model) == "generator"]
        require(
            not generators,
            f"forget {subset} is for classifiers, but model {generators[:1]} is a generator, whose "
            "judges see classes alone; forget classes",
        )
        require(
            self.eval.candidates == "full",
            f"eval.candidates val reads no forgotten training image, so it cannot choose where "
            f"{subset} is forgotten; leave it out",
        )

    def _check_unlearns(self, attack: str) -> None:
        """Refuse methods that an attack cannot run on models of its own."""
        needy = [name for name in self.methods if METHODS[name].needs]
        require(
            not needy,
            f"attack {attack} runs the method on models of its own, for which "
            f"{' and '.join(needy)} would need artifacts; give them a document without it",
        )

    def _check_referee(self, task: str) -> None:
        require(
            task == "generator",
            f"eval.referee is a judge of generators, but the model is a {task}; leave it out",
        )
        own, other = source_of(self.dataset), DATASETS[self.eval.referee]
        require(
            (own.shape, own.classes) == (other.shape, other.classes),
            f"eval.referee {self.eval.referee} has other images or classes than {self.dataset}; "
            "name a data set that has the same",
        )

    def _check_knobs(self) -> None:
        """Refuse knobs that no method has, that grid and search both name, or without values."""
        allowed: set[str] = set()
        for name in self.methods:
            allowed.update(f.name for f in fields(METHODS[name]))
        grid = dict(self.grid)
        searched: dict[str, Any] = {}
        for _, search in self.search:
            searched |= dict(search.space)
        places = {"unlearn": dict(self.unlearn), "grid": grid, "search.space": searched}
        for place, knobs in places.items():
            unknown_keys(f"{place} of sweep {self.name}", knobs, sorted(allowed))
        twice = sorted(grid.keys() & searched.keys())
        require(not twice, f"{' and '.join(twice)} stands in both grid and search.space; keep one")
        for knob, values in self.grid:
            require(len(values) > 0, f"empty axis grid.{knob}; give at least one value")

    def _check_size(self) -> None:
        """Refuse a sweep of more than a million cells before any of them is made."""
        trials = {name: search.trials for name, search in self.search}
        per_problem = 0
        for name in self.methods:
            points = math.prod(len(values) for _, values in self._axes_of(name))
            per_problem += points * trials.get(name, 1)
        cells = per_problem * len(self.models) * len(self.forget) * len(self.seeds)
        require(
            cells <= MAX_CELLS,
            f"sweep {self.name} has {cells:,} cells, more than {MAX_CELLS:,}; shorten an axis, "
            "or give search a number of trials",
        )

    def _axes_of(self, method: str) -> list[tuple[str, tuple[Any, ...]]]:
        """Return the axes of the grid whose knobs the method has."""
        own = {f.name for f in fields(METHODS[method])}
        return [(knob, values) for knob, values in self.grid if knob in own]

    def _check_ranges(self) -> None:
        """Refuse values out of range at any point of the grid, with any end of the search's axes.

        Tries the corners of the search space too: two values may each be valid, but not together.
        """
        searches = dict(self.search)
        for name in self.methods:
            if not searches:
                for _ in self.methods_on_grid(name):
                    pass
                continue
            axes = [product([knob], values) for knob, values in self._axes_of(name)]
            for point, end in product(product(*axes), searches[name].ends()):
                self.method_at(name, dict((*point, *end)))

    def methods_on_grid(self, name: str) -> Iterator[Method]:
        """Yield the method at every point of the grid; an axis that it does not have is left out.

        Types are checked once per value of an axis, ranges at every point. Raises `BadInput` as
        `method_at` does.
        """
        types = {f.name: f.type for f in fields(METHODS[name])}
        axes = {knob: values for knob, values in self.grid if knob in types}
        start = {knob: values[0] for knob, values in axes.items()}
        first = self.method_at(name, start)
        converted = []
        for knob, values in axes.items():
            converted.append([self._typed(name, start, knob, value) for value in values])
        for values in product(*converted):
            try:
                yield replace(first, **dict(zip(axes, values, strict=True)))
            except BadInput:
                self.method_at(name, dict(zip(axes, values, strict=True)))  # says where
                raise

    def _typed(self, name: str, start: Mapping[str, Any], knob: str, value: Any) -> Any:
        """Return one value of an axis as its knob holds it; `start` is the grid's first point."""
        kinds = {f.name: f.type for f in fields(METHODS[name])}
        try:
            return typed(f"{name}: {knob}", value, kinds[knob])
        except BadInput:
            self.method_at(name, {**start, knob: value})  # raises the same and says where
            raise

    def method_at(self, name: str, chosen: Mapping[str, Any]) -> Method:
        """Return the method with its knobs: `chosen` over the spec's over its defaults.

        Knobs that the method does not have are left out. Raises `BadInput` for values out of range.
        """
        own = {f.name for f in fields(METHODS[name])}
        stated = {**dict(self.unlearn), **chosen}
        given = {key: value for key, value in stated.items() if key in own}
        try:
            return make_method(name, given)
        except BadInput as error:
            raise BadInput(f"{name} at {given}: {error}") from error
