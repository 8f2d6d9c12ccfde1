"""Cells: the fully specified experiments of a sweep, and the artifacts that each needs."""

from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

from sweeps.spec.recipes import EXPERT, FISHER, OWN_LATER, SCHEMA, TRAINING, Recipe, without_places
from sweeps.spec.sections import Evaluation, Train
from sweeps.spec.sweep import Knobs
from unlearn.digests import canonical, digest_of
from unlearn.forget_sets import without_place
from unlearn.generators.judges import REFEREE, Judge, panel
from unlearn.knobs import counted, later
from unlearn.methods import Method, method_name
from unlearn.models import task_of
from unlearn.own_data import content_id

SECOND_ORACLE = 500_000  # added to the seed


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


def subset_of(row: Any) -> str:
    """Read `Problem.subset` out of a row; "" where it forgets classes, or is older than that."""
    text = row.get("subset")
    return text if isinstance(text, str) else ""
