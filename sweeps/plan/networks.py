"""Try a plan's networks before anything is trained, and refuse what cannot work in one line."""

from collections.abc import Iterator
from itertools import product
from typing import Any

import torch

from sweeps.plan.plan import Plan
from sweeps.plan.work import Study, Work
from sweeps.spec.cells import Cell, Problem
from sweeps.spec.sweep import FILES
from unlearn.data import source_of
from unlearn.generators.judges import check_judged
from unlearn.methods import METHODS, Method
from unlearn.models import MODELS, build, library_of, task_of
from unlearn.models.check import check_network, check_weights
from unlearn.models.fresh import draws_every_matrix
from unlearn.models.weights_file import read_checkpoint
from unlearn.streams import seeded


def check_networks(plan: Plan) -> list[str]:
    """Build the networks with cells left and try them; return notes about their files of weights.

    Raises `BadInput` for a network that cannot be trained, copied, saved or scored, for a method
    that cannot run on it, and for images that the judges cannot read.
    """
    notes: dict[str, None] = {}
    tried: dict[Any, Any] = {}
    for work in plan.work:
        problem = work.problem
        if problem.task == "generator":
            check_judged(source_of(problem.dataset).shape)
        methods = _methods(work)
        if _is_tested(problem) and not methods:
            continue
        key = (problem.dataset, problem.model, problem.options)
        if key not in tried:
            tried[key] = _try(problem)
            notes |= dict.fromkeys(_notes(problem, tried[key]))
        for method in methods:
            method.check(tried[key])
    return list(notes)


def _is_tested(problem: Problem) -> bool:
    """Tell whether the network is one of ours as it stands, which our own tests try.

    Building it would import torchvision, or torch's compiler: seconds.
    """
    return problem.model in MODELS and not problem.options


def _try(problem: Problem) -> Any:
    """Build and check the problem's network, from the files that it starts from."""
    source = source_of(problem.dataset)
    options = {}
    for key, value in problem.options:
        download = key in FILES and not isinstance(value, str)
        if not (download or key.endswith("_sha256")):
            options[key] = value
    ours = problem.model in MODELS  # these are tested
    # Weights that we draw need no check; the meta device draws none, which saves seconds where a
    # network is large.
    drawn = ours and not any(key in FILES for key in options)
    device = torch.device("meta" if drawn and library_of(problem.model) else "cpu")
    with seeded(0, "check", problem.model), device:
        model = build(problem.model, source.shape, source.classes, options=options)
    task = task_of(problem.model)
    if not drawn:
        check_weights(model, problem.model)
    if not ours:
        check_network(model, problem.model, task, source.shape, source.classes)
    return model


def _notes(problem: Problem, model: Any) -> Iterator[str]:
    """Say which of a file's state dicts is taken, and whether a builder loads weights itself."""
    if not draws_every_matrix(model.built_as):
        yield (
            f"model {problem.model}: its builder gives the same weights at every call, so oracles "
            "start from them too; if they know this data set, name them as `weights: FILE` instead"
        )
    for key, value in problem.options:
        if key in FILES and isinstance(value, str):
            taken = read_checkpoint(value).describe()
            if taken:
                yield f"{key} {value}: {taken}"


def _methods(work: Work) -> set[Method]:
    """Return the methods of the cells that are left; those at the corners of a study's space.

    Only those that ask something of a network: most do not, and a grid may have 100,000 cells.
    """
    if not any(_asks(METHODS[name]) for name in work.sweep.methods):
        return set()
    cells = _corners(work) if isinstance(work, Study) else work.cells_left()
    return {cell.method for cell in cells if _asks(type(cell.method))}


def _asks(kind: type[Method]) -> bool:
    return kind.check is not Method.check


def _corners(study: Study) -> Iterator[Cell]:
    names = [knob for knob, _ in study.search.space]
    for values in product(*(axis for _, axis in study.search.space)):
        yield study.cell_at(dict(zip(names, values, strict=True)))
