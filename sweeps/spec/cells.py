"""Cells: the fully determined points that a sweep stands for, and the artifacts each of them needs."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from itertools import product
from typing import Any

from sweeps.spec.sweep import FILES, Evaluation, Knobs, Sweep, Train
from unlearn.artifacts import digest
from unlearn.generators.judges import panel
from unlearn.methods import METHODS
from unlearn.models import task_of
from unlearn.train import Training

SCHEMA = "v1"  # of rows, cells and recipes; part of every id


@dataclass(frozen=True)
class Recipe:
    """Everything that determines one artifact; `key` hashes it. `needs` are made first."""

    kind: str
    dataset: str
    model: str
    seed: int
    forget: tuple[int, ...]
    knobs: Knobs
    needs: tuple["Recipe", ...] = ()
    options: Knobs = ()

    @cached_property
    def key(self) -> str:
        content = asdict(self) | {
            "knobs": dict(self.knobs),
            "needs": [need.key for need in self.needs],
        }
        content["options"] = placeless(self.options)
        return digest({"schema": SCHEMA, **content})

    def describe(self) -> str:
        forget = f" without {list(self.forget)}" if self.kind == "oracle" else ""
        forget = f" of {list(self.forget)}" if self.kind == "expert" else forget
        return f"{self.kind} {self.model}{forget} seed {self.seed}"


def frozen(options: Mapping[str, Any]) -> Knobs:
    """A builder's options as a record holds them, from a spec or a row alike: sorted by name, lists as tuples."""
    return tuple(sorted((str(key), _frozen(value)) for key, value in options.items()))


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


def placeless(options: Knobs) -> dict[str, Any]:
    """A builder's options without the places of its files, for which their SHA-256 stand."""
    return {key: value for key, value in options if not (key in FILES and isinstance(value, str))}


def architecture(options: Knobs) -> dict[str, Any]:
    """A builder's options without what it starts from: all that it takes to build the network for other weights."""
    return {key: value for key, value in options if key.removesuffix("_sha256") not in FILES}


@dataclass(frozen=True)
class Problem:
    """What cells that can share a pack have in common: one data set, model, forget set, seed and way of training."""

    dataset: str
    model: str
    forget: tuple[int, ...]
    seed: int
    train: Train
    eval: Evaluation
    options: Knobs = ()

    @property
    def task(self) -> str:
        return task_of(self.model)

    def _recipe(
        self, kind: str, forget: tuple[int, ...], names: tuple[str, ...], *needs: Recipe
    ) -> Recipe:
        knobs = tuple((name, getattr(self.train, name)) for name in names)
        return Recipe(kind, self.dataset, self.model, self.seed, forget, knobs, needs, self.options)

    @cached_property
    def original(self) -> Recipe:
        return self._recipe("original", (), TRAINING)

    @cached_property
    def oracle(self) -> Recipe:
        return self._recipe("oracle", self.forget, TRAINING)

    @cached_property
    def fisher(self) -> Recipe:
        return self._recipe("fisher", (), FISHER, self.original)

    @cached_property
    def expert(self) -> Recipe:
        return self._recipe("expert", self.forget, EXPERT, self.original)

    @cached_property
    def experts(self) -> tuple[Recipe, ...]:
        """`train.experts` of them, the first one `expert` itself, each seeing the forget set in an order of its own."""
        return tuple(
            replace(self.expert, seed=self.seed + 1000 * i) for i in range(self.train.experts)
        )

    @cached_property
    def judges(self) -> dict[str, Recipe]:
        """By seat; none for classifiers, which need nobody to read them."""
        if self.task != "generator":
            return {}
        steps = ("steps", self.train.judge_steps)
        return {
            seat: Recipe(
                "judge", self.dataset, judge.net, judge.seed, (), (("reject", judge.reject), steps)
            )
            for seat, judge in panel(self.eval.judges).items()
        }


TRAINING = tuple(f.name for f in fields(Training))
OWN = ("expert_steps", "expert_lr", "expert_schedule", "expert_norms")
NOT_OF_EXPERTS = (
    "steps",
    "lr",
    "schedule",
    "label_smoothing",
)  # smoothing would teach the labels it does not see
EXPERT = (*OWN, *(name for name in TRAINING if name not in NOT_OF_EXPERTS))
FISHER = ("fisher_samples",)
MAKING = {
    "expert": OWN,
    "experts": (*OWN, "experts"),
    "fisher": FISHER,
}  # by what a method needs: how that was made


@dataclass(frozen=True)
class Cell:
    """One point: a group, a method, all of its knobs. Same cell, same `cell_id`, on any machine, at any attempt."""

    problem: Problem
    method: str
    knobs: Knobs

    @cached_property
    def cell_id(self) -> str:
        problem = {**asdict(self.problem), "options": placeless(self.problem.options)}
        return digest(
            {"schema": SCHEMA, **problem, "method": self.method, "knobs": dict(self.knobs)}
        )

    def recipes(self) -> dict[str, Recipe]:
        """By role: what the cell's method, evaluation and comparison need."""
        problem = self.problem
        needs = {
            name: getattr(problem, name) for name in METHODS[self.method].needs if name != "experts"
        }
        if "experts" in METHODS[self.method].needs:
            needs |= {f"expert-{i}": recipe for i, recipe in enumerate(problem.experts)}
        judges = {f"judge-{seat}": recipe for seat, recipe in problem.judges.items()}
        return {"original": problem.original, "oracle": problem.oracle, **needs, **judges}

    def describe(self) -> str:
        problem = self.problem
        return f"{self.method} {problem.model} forget {list(problem.forget)} seed {problem.seed} {dict(self.knobs)}"


def problems(sweep: Sweep) -> Iterator[Problem]:
    """Every model x forget set x seed of the sweep, in the spec's order."""
    train = dict(sweep.train)
    for model, forget, seed in product(sweep.models, sweep.forget, sweep.seeds):
        yield Problem(sweep.dataset, model, forget, seed, train[model], sweep.eval, sweep.options)


def grid_cells(sweep: Sweep, problem: Problem) -> list[Cell]:
    """The grid of one group, method by method; an axis that a method does not have does not multiply it."""
    found: dict[str, Cell] = {}
    for method in sweep.methods:
        for values in product(*(values for _, values in sweep.grid)):
            cell = cell_of(
                sweep,
                problem,
                method,
                dict(zip((knob for knob, _ in sweep.grid), values, strict=True)),
            )
            found[cell.cell_id] = cell
    return list(found.values())


def cell_of(sweep: Sweep, problem: Problem, method: str, chosen: dict[str, Any]) -> Cell:
    """The cell of `group` at the chosen knobs, every other knob as the spec or the method has it."""
    return Cell(problem, method, tuple(sweep.knobs_of(method, tuple(chosen.items())).items()))
