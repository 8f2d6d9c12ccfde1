"""Make the missing artifacts in Ray tasks, in dependency order.

One task per artifact, or per group of those that one GPU trains as one program.
"""

from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Any

import ray
import torch
from ray.exceptions import RayError, RayTaskError

from sweeps.compute.artifacts import Outcomes, make_together, stack_of
from sweeps.compute.together import MOST
from sweeps.run.budget import Allowance
from sweeps.run.nodes import data_root_here
from sweeps.run.resources import ray_nodes
from sweeps.spec.recipes import Recipe
from sweeps.spec.sections import Resources
from unlearn.artifacts import Store
from unlearn.errors import CannotWrite

LONGEST_WAIT_S = 3600.0  # Ray takes no infinite timeout


def grouped(missing: Iterable[Recipe], resources: Mapping[str, Resources]) -> list[list[Recipe]]:
    """Group artifacts into tasks: those of one `stack_of` together, all others alone.

    Returns the groups in an order in which each stands after those that it needs.

    Stacks are spread over the GPUs of all nodes.

    resources: what a task asks for, by the artifact's key
    """
    groups: list[list[Recipe]] = []
    stacks: dict[Hashable, list[Recipe]] = {}
    for recipe in missing:
        asks = resources[recipe.key]
        own = stack_of(recipe, asks.gpu)
        if own is None:
            groups.append([recipe])
        else:
            stacks.setdefault((own, asks), []).append(recipe)
    whole: list[list[Recipe]] = []
    devices = round(sum(node.gpu for node in ray_nodes())) if stacks else 0
    for stack in stacks.values():
        parts = max(devices, -(-len(stack) // MOST), 1)
        whole += [stack[part::parts] for part in range(min(parts, len(stack)))]
    return whole + groups  # what is stacked needs no other artifact


def prepare(
    store: Store,
    data_root: str,
    missing: Iterable[Recipe],
    resources: Mapping[str, Resources],
    done: Callable[[Recipe, float], Any],
    allowance: Allowance | None = None,
) -> dict[str, str]:
    """Make the missing artifacts in Ray tasks, each after those that it needs.

    Each is a task of its own, but for those that one GPU trains as one program (`grouped`).

    resources: what a task asks for, by the artifact's key
    done: called with each artifact and its seconds
    allowance: what is left of the run's budget; when its time is over, the rest is not made

    Returns key -> error for each artifact that could not be made. An interruption loses only the
    artifacts that are being made at that moment. Raises `CannotWrite`.
    """
    allowance = allowance or Allowance()
    # Ray ends a worker after one task with a GPU, unless `max_calls` is 0. Ours give their memory
    # back, and importing torch again would take seconds per artifact.
    remote = ray.remote(max_retries=3, max_calls=0)(_make_after)
    tasks: dict[str, ray.ObjectRef[Any]] = {}
    recipes: dict[ray.ObjectRef[Any], list[Recipe]] = {}
    for group in grouped(missing, resources):
        first = group[0]
        needs = {need.key for recipe in group for need in recipe.needs}
        upstream = [tasks[key] for key in needs if key in tasks]
        cpu, gpu = resources[first.key].cpu, resources[first.key].gpu
        name = first.describe() if len(group) == 1 else f"{len(group)} of {first.model}"
        task = remote.options(num_cpus=cpu, num_gpus=gpu, name=name)
        ref = task.remote(store, data_root, group, gpu, cpu, *upstream)
        tasks |= {recipe.key: ref for recipe in group}
        recipes[ref] = group
    failed: dict[str, str] = {}
    waiting = list(recipes)
    try:
        while waiting:
            ready, waiting = ray.wait(waiting, timeout=min(allowance.seconds_left, LONGEST_WAIT_S))
            if not ready and allowance.seconds_left > 0:
                continue
            if not ready:
                allowance.spent = True
                break
            group = recipes[ready[0]]
            outcomes = _result(ready[0], group)
            for recipe in group:
                error, seconds = outcomes[recipe.key]
                if error:
                    failed[recipe.key] = f"{recipe.describe()}: {error}"
                done(recipe, seconds)
    finally:
        for ref in waiting:  # after an interruption, or when the budget is spent
            ray.cancel(ref, force=True)
    return failed


def _make_after(
    store: Store, root: str, group: list[Recipe], gpus: float, cpus: float, *upstream: Outcomes
) -> Outcomes:
    """Make a group of artifacts. An error is text, so that other artifacts are made."""
    known: Outcomes = {}
    for outcomes in upstream:
        known |= outcomes
    for need in {need.key for recipe in group for need in recipe.needs}:
        error, _ = known.get(need, ("", 0.0))
        if error:
            return {recipe.key: (error, 0.0) for recipe in group}
    try:
        return make_together(store, data_root_here(root), group, gpus, cpus)
    except CannotWrite:
        raise
    except Exception as error:  # as in `_one_by_one`
        return {recipe.key: (f"{type(error).__name__}: {error}", 0.0) for recipe in group}
    finally:
        if gpus and torch.cuda.is_initialized():
            torch.cuda.empty_cache()


def _result(task: ray.ObjectRef[Any], group: list[Recipe]) -> Outcomes:
    """Return what `_make_after` returned; where its worker was killed, Ray's message as error.

    Raises `CannotWrite` where no artifact can be written.
    """
    try:
        outcomes: Outcomes = ray.get(task)
        return outcomes
    except RayError as error:
        cause = error.cause if isinstance(error, RayTaskError) else error
        if isinstance(cause, CannotWrite):
            raise CannotWrite(str(cause)) from error
        return {recipe.key: (f"{type(cause).__name__}: {cause}", 0.0) for recipe in group}
