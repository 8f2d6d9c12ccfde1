"""Make artifacts: one function per kind, one Ray task per missing artifact (or per group of those
that one GPU trains as one program), in dependency order."""

import sys
import time
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any

import ray
import torch
from ray.exceptions import RayError, RayTaskError

from sweeps.compute.cache import WorkerCache, configure_worker, device_name, pick_device
from sweeps.compute.together import MOST
from sweeps.run.budget import Allowance
from sweeps.run.nodes import data_root_here
from sweeps.run.resources import ray_nodes
from sweeps.spec.cells import EXPERT, TRAINING, Recipe
from sweeps.spec.sweep import Resources
from unlearn.artifacts import Store
from unlearn.errors import CannotWrite, NotFinite, one_line
from unlearn.fisher.generators import generator_fisher
from unlearn.generators.judges import train_judge
from unlearn.models import Weights, task_of
from unlearn.splits import Images, Splits
from unlearn.stacked import can_stack, fit_together
from unlearn.streams import seeded, stream
from unlearn.train import Curve, Schedule, Training, fit, snapshot

Made = tuple[Weights, Curve]
LONGEST_WAIT_S = 3600.0  # Ray takes no infinite timeout


def _plan(recipe: Recipe) -> Training:
    return Training(**{name: recipe.knob(name) for name in TRAINING})


def _train(cache: WorkerCache, recipe: Recipe) -> Made:
    """Train the recipe's network on what it may see."""
    generator = stream(recipe.seed, recipe.kind, "train", device=cache.device)
    return fit(cache.build(recipe), _images(cache, recipe), _plan(recipe), generator)


def _images(cache: WorkerCache, recipe: Recipe) -> Images:
    """Return the training images of an original, or those that an oracle may see."""
    if recipe.kind == "original":
        return cache.dataset(recipe.dataset).train
    return _splits(cache, recipe).train.retain


def _original(cache: WorkerCache, recipe: Recipe) -> Made:
    """Train on everything; where the spec names a weights file, take what it holds."""
    if "weights" in dict(recipe.options):
        return snapshot(cache.build(recipe)), {}
    return _train(cache, recipe)


def _splits(cache: WorkerCache, recipe: Recipe) -> Splits:
    """Divide the recipe's data set by what an oracle never sees, or an expert alone."""
    if recipe.subset:
        return cache.splits(recipe.dataset, (), recipe.subset, recipe.draw)
    return cache.splits(recipe.dataset, recipe.forget)


def _expert(cache: WorkerCache, recipe: Recipe) -> Made:
    """Fine-tune the original on the forget set alone."""
    knobs = {name.removeprefix("expert_"): recipe.knob(name) for name in EXPERT}
    steady = knobs.pop("norms") == "original"
    images = _splits(cache, recipe).train.forget
    generator = stream(recipe.seed, "expert", "train", device=cache.device)
    original = cache.model(recipe.needs[0])
    return fit(original, images, Training(**knobs), generator, steady=steady)


def _fisher(cache: WorkerCache, recipe: Recipe) -> Made:
    generator = stream(recipe.seed, "fisher", device=cache.device)
    original = cache.model(recipe.needs[0])
    samples, kl_weight = recipe.knob("fisher_samples"), dict(recipe.knobs).get("kl_weight", 1.0)
    return generator_fisher(original, samples, generator, kl_weight=kl_weight), {}


def _judge(cache: WorkerCache, recipe: Recipe) -> Made:
    images = cache.dataset(recipe.dataset).train
    generator = stream(recipe.seed, "judge", device=cache.device)
    plan = Schedule(recipe.knob("steps"), 64, 3e-3)
    reject, fade = recipe.knob("reject"), dict(recipe.knobs).get("fade", 0.0)
    return train_judge(cache.build(recipe), images, plan, generator, reject, fade)


MAKERS: dict[str, Callable[[WorkerCache, Recipe], Made]] = {
    "original": _original,
    "oracle": _train,
    "expert": _expert,
    "fisher": _fisher,
    "judge": _judge,
}


def make(store: Store, data_root: str, recipe: Recipe, gpus: float, cpus: float) -> float:
    """Make one artifact and save it, unless the store has it; return the seconds it took."""
    if store.has(recipe.kind, recipe.key):
        return 0.0
    configure_worker(cpus)
    started = time.perf_counter()
    cache = WorkerCache(store, data_root_here(data_root), pick_device(gpus))
    with seeded(recipe.seed, recipe.kind, recipe.model):
        weights, curve = MAKERS[recipe.kind](cache, recipe)
    seconds = time.perf_counter() - started
    _save(cache, recipe, (weights, curve), seconds)
    return seconds


def _save(cache: WorkerCache, recipe: Recipe, made: Made, seconds: float, stacked: int = 1) -> None:
    weights, curve = made
    card = {
        "recipe": recipe.describe(),
        "dataset": recipe.dataset,
        "model": recipe.model,
        "seed": recipe.seed,
        "forget": list(recipe.forget),
        "knobs": dict(recipe.knobs),
        "needs": [need.key for need in recipe.needs],
        "seconds": seconds,
        "device": cache.device,
        "device_name": device_name(cache.device),
        "curve": curve,
        "torch": torch.__version__,
    }
    if stacked > 1:
        card["stacked"] = stacked
    cache.store.save(recipe.kind, recipe.key, weights, card)


Outcomes = dict[str, tuple[str, float]]  # by key: the error, "" for none, and the seconds


def make_together(
    store: Store, data_root: str, recipes: Sequence[Recipe], gpus: float, cpus: float
) -> Outcomes:
    """Train the originals and oracles of one `stack_of` that the store lacks, as one program.

    Networks that cannot be stacked are trained one after the other, and where the device has too
    little memory halves of the stack. Raises `CannotWrite`.
    """
    missing = [recipe for recipe in recipes if not store.has(recipe.kind, recipe.key)]
    outcomes: Outcomes = {recipe.key: ("", 0.0) for recipe in recipes}
    if len(missing) < 2:
        return outcomes | _one_by_one(store, data_root, missing, gpus, cpus)
    configure_worker(cpus)
    cache = WorkerCache(store, data_root_here(data_root), pick_device(gpus))
    if not can_stack(cache.build(missing[0]), _plan(missing[0])):
        return outcomes | _one_by_one(store, data_root, missing, gpus, cpus)
    try:
        return outcomes | _train_together(cache, missing)
    except CannotWrite:
        raise
    except torch.OutOfMemoryError:
        torch.cuda.empty_cache()
    except Exception as error:  # a user's layer that torch.func cannot vectorise, or too few images
        print(f"warning: models are trained one by one: {one_line(error)}", file=sys.stderr)
        return outcomes | _one_by_one(store, data_root, missing, gpus, cpus)
    half = len(missing) // 2
    for part in (missing[:half], missing[half:]):
        outcomes |= make_together(store, data_root, part, gpus, cpus)
    return outcomes


def _train_together(cache: WorkerCache, recipes: Sequence[Recipe]) -> Outcomes:
    started = time.perf_counter()
    models, images, generators = [], [], []
    for recipe in recipes:
        with seeded(recipe.seed, recipe.kind, recipe.model):
            models.append(cache.build(recipe))
        images.append(_images(cache, recipe))
        generators.append(stream(recipe.seed, recipe.kind, "train", device=cache.device))
    results = fit_together(models, images, _plan(recipes[0]), generators)
    seconds = (time.perf_counter() - started) / len(recipes)
    outcomes: Outcomes = {}
    for recipe, made in zip(recipes, results, strict=True):
        if isinstance(made, NotFinite):
            outcomes[recipe.key] = (f"NotFinite: {made}", seconds)
            continue
        _save(cache, recipe, made, seconds, len(recipes))
        outcomes[recipe.key] = ("", seconds)
    return outcomes


def _one_by_one(
    store: Store, data_root: str, recipes: Iterable[Recipe], gpus: float, cpus: float
) -> Outcomes:
    outcomes: Outcomes = {}
    for recipe in recipes:
        try:
            outcomes[recipe.key] = ("", make(store, data_root, recipe, gpus, cpus))
        except CannotWrite:
            raise
        except Exception as error:  # a user's builder may raise anything; the failure must name it
            outcomes[recipe.key] = (f"{type(error).__name__}: {error}", 0.0)
    return outcomes


def stack_of(recipe: Recipe, gpus: float) -> Hashable | None:
    """Return what originals and oracles must have in common to be trained as one program.

    None where this one is not: another kind, no GPU, or weights from a file.
    """
    trained = recipe.kind in ("original", "oracle") and task_of(recipe.model) == "generator"
    if not trained or gpus == 0 or recipe.subset or "weights" in dict(recipe.options):
        return None
    return (recipe.dataset, recipe.model, recipe.knobs, recipe.options)


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
        return make_together(store, root, group, gpus, cpus)
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
