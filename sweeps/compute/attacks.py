"""Run the attacks that a cell's spec names, as in `eval: {attacks: [latent-label, lira]}`."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from torch import Generator, Tensor

from sweeps.compute.cache import WorkerCache
from sweeps.spec.cells import Cell, Problem
from sweeps.spec.recipes import architecture
from unlearn.attacks import Findings, References, Target, Unlearn
from unlearn.attacks.base import SECOND_ORACLE
from unlearn.errors import one_line
from unlearn.evaluation import Scores
from unlearn.models import Weights
from unlearn.models.fresh import drawn
from unlearn.splits import Splits
from unlearn.streams import seeded, stream

PICTURED = ("original", "oracle")  # reference models whose pictures are kept beside the subject's


def attack(cache: WorkerCache, cell: Cell, weights: Weights) -> tuple[Scores, dict[str, Tensor]]:
    """Run the attacks that the cell's spec names; return their columns, and pictures by attack.

    An attack that raises does not stop the others: it has no columns, and `error` gives the reason.
    """
    problem = cell.problem
    scores: Scores = {}
    pictures: dict[str, Tensor] = {}
    broken = []
    if not problem.eval.attacks:
        return scores, pictures
    subject = cache.build(problem.original, weights)
    for name in problem.eval.attacks:
        try:
            findings = attack_subject(cache, cell, name, subject)
        except Exception as error:  # whatever an attack raises, the cell keeps its other scores
            broken.append(f"no {name}: {one_line(error)}")
            continue
        scores |= findings.scores
        if findings.pictures is not None:
            pictures[name] = findings.pictures
            pictures |= reference_pictures(cache, problem, name)
    if broken:
        scores["error"] = "; ".join(broken)
    return scores, pictures


def attack_subject(cache: WorkerCache, cell: Cell, name: str, subject: Any) -> Findings:
    """Run one attack on `subject`, beside the problem's reference models."""
    problem = cell.problem
    references = cache.keep(make_references, problem, name)
    attack = problem.eval.attack(name)
    if attack.unlearns:
        return attack(subject, references, unlearner(cell))
    return attack(subject, references)


def unlearner(cell: Cell) -> Unlearn:
    """Return the cell's method, to be run on an attack's own models. It needs no artifacts."""
    method, training = cell.method, cell.problem.train
    needs = {"training": training} if hasattr(method, "objective") else {}

    def unlearn(model: Any, splits: Splits, generator: Generator) -> Weights:
        return method(model, splits, generator, **needs).weights

    return unlearn


def reference_pictures(cache: WorkerCache, problem: Problem, name: str) -> dict[str, Tensor]:
    """Return what the attack drew from the `PICTURED` models, as `<model>:<attack>` -> images."""
    attack, references = problem.eval.attack(name), cache.keep(make_references, problem, name)
    drawn = {}
    for model in PICTURED:
        images = attack.pictures(references.found[model])
        if images is not None:
            drawn[f"{model}:{name}"] = images
    return drawn


def make_references(cache: WorkerCache, problem: Problem, name: str) -> References:
    """Prepare an attack and run it on the reference models: the same for all cells of `problem`."""
    attack = problem.eval.attack(name)
    models = {}
    names = list(attack.reference_models)
    if problem.eval.second_oracle:
        names.append(SECOND_ORACLE)
    for reference in names:
        models[reference] = REFERENCE_MODELS[reference](cache, problem)
    splits = cache.splits(*problem.divided)
    evaluator = cache.evaluator(problem)
    target = Target(
        name,
        evaluator,
        splits,
        problem.seed,
        problem.eval.effort,
        training=problem.train,
        any_forgotten=problem.eval.any_forgotten,
    )
    return attack.references(target, models)


def untrained_model(cache: WorkerCache, problem: Problem) -> Any:
    """Build the problem's network at random weights, whatever files its training starts from."""
    purpose = (problem.seed, "untrained", problem.model)
    options = tuple(architecture(problem.options).items())
    with seeded(*purpose):
        network = cache.build(replace(problem.original, options=options))
    return drawn(network, stream(*purpose))


REFERENCE_MODELS: dict[str, Callable[[WorkerCache, Problem], Any]] = {
    "original": lambda cache, problem: cache.model(problem.original),
    "oracle": lambda cache, problem: cache.model(problem.oracle),
    "untrained": untrained_model,
    SECOND_ORACLE: lambda cache, problem: cache.model(problem.second_oracle),
}
