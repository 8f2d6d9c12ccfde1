"""Cells: the fully specified experiments of a sweep, and the artifacts that each needs."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property, lru_cache
from itertools import product
from typing import Any, overload

from sweeps.spec.sweep import FILES, Evaluation, Knobs, Sweep, Train
from unlearn.artifacts import canonical, digest, digest_of
from unlearn.forget_sets import without_place
from unlearn.generators.judges import REFEREE, Judge, panel
from unlearn.knobs import counted, later
from unlearn.methods import METHODS, Method, method_name
from unlearn.models import task_of
from unlearn.own_data import content_id
from unlearn.train import Training

SECOND_ORACLE = 500_000  # added to the seed
SCHEMA = "v1"  # of rows, cells and recipes; part of every id


@dataclass(frozen=True)
class Recipe:
    """The complete description of one artifact; `key` is its hash.

    kind: `original`, `oracle`, `expert`, `fisher` or `judge`
    dataset, model: by name; the model of a judge is the name of its network
    seed: of initial weights, batches and noise
    forget: classes that an oracle never sees, or the only ones that an expert sees
    knobs: (name, value) pairs of its training
    needs: artifacts that are made first
    options: (name, value) pairs for the model's builder
    subset: the forget set, as text, where it is no whole class (`Problem.subset`); else ""
    draw: the seed that drew it
    """

    kind: str
    dataset: str
    model: str
    seed: int
    forget: tuple[int, ...]
    knobs: Knobs
    needs: tuple["Recipe", ...] = ()
    options: Knobs = ()
    subset: str = later("")
    draw: int = later(0)

    @cached_property
    def key(self) -> str:
        content = counted(self)
        content["dataset"] = content_id(self.dataset)
        content["knobs"] = dict(self.knobs)
        content["needs"] = [need.key for need in self.needs]
        content["options"] = without_places(self.options)
        if self.subset:
            content["subset"] = without_place(self.subset)
        return digest({"schema": SCHEMA, **content})

    def knob(self, name: str) -> Any:
        """Return the value of one knob. Raises `KeyError` where this kind of artifact has none."""
        return dict(self.knobs)[name]

    def describe(self) -> str:
        """Name the artifact in a few words, for logs and errors."""
        words = {"oracle": "without", "expert": "of"}
        forget = ""
        if self.kind in words:
            forget = f" {words[self.kind]} {self.subset or list(self.forget)}"
        return f"{self.kind} {self.model}{forget} seed {self.seed}"


def frozen(options: Mapping[str, Any]) -> Knobs:
    """Make options hashable: (name, value) pairs sorted by name, lists as tuples.

    Options from a spec and from a row give the same result.
    """
    pairs = [(str(key), _frozen(value)) for key, value in options.items()]
    return tuple(sorted(pairs))


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


def without_places(options: Knobs) -> dict[str, Any]:
    """Return a builder's options without the paths of its files; their SHA-256 stay."""
    kept = {}
    for key, value in options:
        is_path = key in FILES and isinstance(value, str)
        if not is_path:
            kept[key] = value
    return kept


def architecture(options: Knobs) -> dict[str, Any]:
    """Return the options that shape the network, without those that name its starting weights."""
    return {key: value for key, value in options if key.removesuffix("_sha256") not in FILES}


TRAINING = tuple(f.name for f in fields(Training))
OWN = ("expert_steps", "expert_lr", "expert_schedule", "expert_norms")
OWN_LATER = ("expert_epochs", "expert_accuracy")  # 0 is what experts were before
# An expert has a schedule of its own; label smoothing would teach it labels that it never sees.
NOT_OF_EXPERTS = ("steps", "lr", "schedule", "label_smoothing")
EXPERT = (*OWN, *(name for name in TRAINING if name not in NOT_OF_EXPERTS))
FISHER = ("fisher_samples",)
# What a method needs -> the keys of `train` that say how that artifact is made.
MAKING = {
    "expert": (*OWN, *OWN_LATER),
    "experts": (*OWN, *OWN_LATER, "experts"),
    "fisher": FISHER,
}


@dataclass(frozen=True)
class Problem:
    """A task on which methods are compared, and how models are trained and scored.

    dataset, model: by name
    forget: classes to forget, sorted; () where `subset` says what is forgotten
    seed: of everything random
    train: how originals, oracles, experts, Fisher and judges are made
    eval: what is scored and attacked
    options: (name, value) pairs for the model's builder
    subset: a forget set that is not whole classes, as text: `random 0.1`, `subclass 3,5`, or
        `indices SHA PATH`; else ""
    """

    dataset: str
    model: str
    forget: tuple[int, ...]
    seed: int
    train: Train
    eval: Evaluation
    options: Knobs = ()
    subset: str = later("")

    @property
    def task(self) -> str:
        """`generator` or `classifier`."""
        return task_of(self.model)

    @property
    def divided(self) -> tuple[Any, ...]:
        """What `WorkerCache.splits` takes: data set, classes and, if any, subset and its seed."""
        whole = (self.dataset, self.forget)
        return (*whole, self.subset, self.seed) if self.subset else whole

    def _recipe(
        self, kind: str, forget: tuple[int, ...], names: tuple[str, ...], *needs: Recipe
    ) -> Recipe:
        knobs = tuple((name, getattr(self.train, name)) for name in names)
        return Recipe(kind, self.dataset, self.model, self.seed, forget, knobs, needs, self.options)

    @cached_property
    def original(self) -> Recipe:
        """The model trained on everything."""
        return self._recipe("original", (), TRAINING)

    @cached_property
    def oracle(self) -> Recipe:
        """The model trained without the forget set."""
        recipe = self._recipe("oracle", self.forget, TRAINING)
        return replace(recipe, subset=self.subset, draw=self.seed) if self.subset else recipe

    @cached_property
    def second_oracle(self) -> Recipe:
        """The oracle from another seed: what differs between the two is no memory."""
        return replace(self.oracle, seed=self.seed + SECOND_ORACLE)

    @cached_property
    def fisher(self) -> Recipe:
        """The diagonal Fisher information of the original."""
        recipe = self._recipe("fisher", (), FISHER, self.original)
        if self.train.fisher_objective == "plain":
            return recipe
        return replace(recipe, knobs=(*recipe.knobs, ("kl_weight", self.train.kl_weight)))

    @cached_property
    def expert(self) -> Recipe:
        """The original fine-tuned on the forget set alone."""
        stated = tuple(name for name in OWN_LATER if getattr(self.train, name) > 0)
        recipe = self._recipe("expert", self.forget, (*EXPERT, *stated), self.original)
        return replace(recipe, subset=self.subset, draw=self.seed) if self.subset else recipe

    @cached_property
    def experts(self) -> tuple[Recipe, ...]:
        """`train.experts` experts, `expert` first; each reads the forget set in another order."""
        shifts = range(0, 1000 * self.train.experts, 1000)
        return tuple(replace(self.expert, seed=self.seed + shift) for shift in shifts)

    @cached_property
    def judges(self) -> dict[str, Recipe]:
        """The judges of a generator by seat (`lead`, `val`, plain ones); none for classifiers."""
        if self.task != "generator":
            return {}
        recipes = {}
        for seat, judge in panel(self.eval.judges).items():
            recipes[seat] = self._judge(self.dataset, judge)
        if self.eval.referee:
            recipes["referee"] = self._judge(self.eval.referee, REFEREE)
        return recipes

    def _judge(self, dataset: str, judge: Judge) -> Recipe:
        knobs: Knobs = (("reject", judge.reject), ("steps", self.train.judge_steps))
        if self.train.judge_fade:
            knobs = (*knobs, ("fade", self.train.judge_fade))
        return Recipe("judge", dataset, judge.net, judge.seed, (), knobs)

    def recipes(self, needs: tuple[str, ...]) -> dict[str, Recipe]:
        """Return role -> recipe of what evaluation, comparison and the named `needs` take."""
        found = {"original": self.original, "oracle": self.oracle}
        if self.eval.second_oracle:
            found["second-oracle"] = self.second_oracle
        for need in needs:
            if need == "experts":
                for i, expert in enumerate(self.experts):
                    found[f"expert-{i}"] = expert
            else:
                found[need] = getattr(self, need)
        for seat, judge in self.judges.items():
            found[f"judge-{seat}"] = judge
        return found

    @cached_property
    def _frame(self) -> tuple[str, str]:
        """Return the canonical form of all cells of this problem, before and after the method."""
        content = {"schema": SCHEMA, **counted(self), "options": without_places(self.options)}
        content["dataset"] = content_id(self.dataset)
        if self.subset:
            content["subset"] = without_place(self.subset)
        before = {key: value for key, value in content.items() if key < "knobs"}
        after = {key: value for key, value in content.items() if key > "method"}
        return canonical(before)[:-1] + ",", "," + canonical(after)[1:]

    def id_of(self, method: str) -> str:
        """Return the `cell_id` of a method on this problem; `method` is its canonical form.

        The id hashes the canonical JSON of problem and method, whose keys are sorted. The part of
        the problem is written once for all of its cells.
        """
        before, after = self._frame
        return digest_of(before + method + after)


def canonical_method(method: Method) -> str:
    """Return a method's part of the canonical form of its cells, without the braces."""
    return canonical({"knobs": counted(method), "method": method_name(method)})[1:-1]


@dataclass(frozen=True)
class Cell:
    """A problem and a method with all of its knobs: one row.

    The same cell has the same `cell_id` on any machine, at any attempt.
    """

    problem: Problem
    method: Method

    @property
    def method_name(self) -> str:
        """The method's name in specs and rows."""
        return method_name(self.method)

    @cached_property
    def cell_id(self) -> str:
        return self.problem.id_of(canonical_method(self.method))

    def recipes(self) -> dict[str, Recipe]:
        """Return role -> recipe of the artifacts that method, evaluation and comparison need."""
        return self.problem.recipes(self.method.needs)

    def describe(self) -> str:
        """Name the cell in one line, for logs and cards."""
        problem = self.problem
        forget = problem.subset or list(problem.forget)
        where = f"{problem.model} forget {forget} seed {problem.seed}"
        return f"{self.method_name} {where} {asdict(self.method)}"


def problems(sweep: Sweep) -> Iterator[Problem]:
    """Yield every model x forget set x seed of the sweep, in the spec's order."""
    train = dict(sweep.train)
    for model, forget, seed in product(sweep.models, sweep.forget, sweep.seeds):
        whole, subset = (forget, "") if isinstance(forget, tuple) else ((), str(forget))
        yield Problem(
            sweep.dataset,
            model,
            whole,
            seed,
            train[model],
            sweep.eval,
            sweep.options,
            subset,
        )


def subset_of(row: Any) -> str:
    """Read `Problem.subset` out of a row; "" where it forgets classes, or is older than that."""
    text = row.get("subset")
    return text if isinstance(text, str) else ""


@dataclass(frozen=True)
class Point:
    """A point of a grid, shared by all problems of a sweep.

    method: with all of its knobs
    canonical: its part of the canonical form of every cell at this point
    """

    method: Method
    canonical: str


def point_of(cell: Cell) -> Point:
    """Return the point at which a cell lies."""
    return Point(cell.method, canonical_method(cell.method))


@lru_cache(4)
def grid_points(sweep: Sweep) -> tuple[Point, ...]:
    """Return the points of the sweep's grid, method by method, each once.

    A method ignores an axis of a knob that it does not have: its points are not multiplied by it.
    """
    found: dict[str, Point] = {}
    for name in sweep.methods:
        for method in sweep.methods_on_grid(name):
            text = canonical_method(method)
            found.setdefault(text, Point(method, text))
    return tuple(found.values())


@dataclass(frozen=True)
class Cells(Sequence[Cell]):
    """The cells of one problem at some points of a grid; each is made when it is read."""

    problem: Problem
    points: tuple[Point, ...]

    def __len__(self) -> int:
        return len(self.points)

    @overload
    def __getitem__(self, at: int) -> Cell: ...

    @overload
    def __getitem__(self, at: slice) -> "Cells": ...

    def __getitem__(self, at: int | slice) -> "Cell | Cells":
        if isinstance(at, slice):
            return Cells(self.problem, self.points[at])
        return Cell(self.problem, self.points[at].method)

    @cached_property
    def ids(self) -> list[str]:
        """Return the `cell_id` of every cell, in order."""
        return [self.problem.id_of(point.canonical) for point in self.points]

    def without(self, done: set[str]) -> "Cells":
        """Return the cells whose id is not among `done`."""
        if not done:
            return self
        known = zip(self.points, self.ids, strict=True)
        left = tuple(point for point, cell_id in known if cell_id not in done)
        return Cells(self.problem, left)

    def shuffled(self, methods: Sequence[str]) -> "Cells":
        """Return the cells method by method, each method's in the order of their ids.

        Ids are hashes, so that order is as good as random.
        """
        place = {name: at for at, name in enumerate(methods)}
        keys = []
        for cell_id, point in zip(self.ids, self.points, strict=True):
            keys.append((place[method_name(point.method)], cell_id))
        order = sorted(range(len(keys)), key=keys.__getitem__)
        return Cells(self.problem, tuple(self.points[at] for at in order))


def grid_cells(sweep: Sweep, problem: Problem) -> list[Cell]:
    """Return the grid of one problem, method by method."""
    return list(Cells(problem, grid_points(sweep)))


def needed_by(sweep: Sweep, problem: Problem) -> Iterator[Recipe]:
    """Yield the artifacts that the sweep's methods need on one problem."""
    for name in sweep.methods:
        yield from problem.recipes(METHODS[name].needs).values()


def cell_of(sweep: Sweep, problem: Problem, method: str, chosen: dict[str, Any]) -> Cell:
    """Return the cell with the chosen knobs; other knobs are the spec's, else the method's."""
    return Cell(problem, sweep.method_at(method, chosen))
