"""Make artifacts: one function per kind, one Ray task per missing artifact, in dependency order."""

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import ray
import torch
from ray.exceptions import RayError, RayTaskError

from sweeps.compute.cache import WorkerCache, configure_worker, pick_device
from sweeps.run.budget import Allowance
from sweeps.run.nodes import data_root_here
from sweeps.spec.cells import EXPERT, TRAINING, Recipe
from sweeps.spec.sweep import Resources
from unlearn.artifacts import Store
from unlearn.errors import CannotWrite
from unlearn.fisher.generators import generator_fisher
from unlearn.generators.judges import train_judge
from unlearn.models import Weights
from unlearn.splits import Images, Splits
from unlearn.streams import seeded, stream
from unlearn.train import Curve, Schedule, Training, fit, snapshot

Made = tuple[Weights, Curve]
LONGEST_WAIT_S = 3600.0  # Ray takes no infinite timeout


def _train(cache: WorkerCache, recipe: Recipe, images: Images) -> Made:
    """Train the recipe's network on the images."""
    plan = Training(**{name: recipe.knob(name) for name in TRAINING})
    generator = stream(recipe.seed, recipe.kind, "train", device=cache.device)
    return fit(cache.build(recipe), images, plan, generator)


def _original(cache: WorkerCache, recipe: Recipe) -> Made:
    """Train on everything; where the spec names a weights file, take what it holds."""
    if "weights" in dict(recipe.options):
        return snapshot(cache.build(recipe)), {}
    return _train(cache, recipe, cache.dataset(recipe.dataset).train)


def _splits(cache: WorkerCache, recipe: Recipe) -> Splits:
    """Divide the recipe's data set by what an oracle never sees, or an expert alone."""
    if recipe.subset:
        return cache.splits(recipe.dataset, (), recipe.subset, recipe.draw)
    return cache.dataset(recipe.dataset).split(recipe.forget)


def _oracle(cache: WorkerCache, recipe: Recipe) -> Made:
    """Train on the retain set alone."""
    retained = _splits(cache, recipe).train.retain
    return _train(cache, recipe, retained)


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
    "oracle": _oracle,
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
        "curve": curve,
        "torch": torch.__version__,
    }
    store.save(recipe.kind, recipe.key, weights, card)
    return seconds


def prepare(
    store: Store,
    data_root: str,
    missing: Iterable[Recipe],
    resources: Mapping[str, Resources],
    done: Callable[[Recipe, float], Any],
    allowance: Allowance | None = None,
) -> dict[str, str]:
    """Make the missing artifacts, each in a Ray task of its own after those that it needs.

    resources: what a task asks for, by the artifact's key
    done: called with each artifact and its seconds
    allowance: what is left of the run's budget; when its time is over, the rest is not made

    Returns key -> error for each artifact that could not be made. An interruption loses only the
    artifacts that are being made at that moment. Raises `CannotWrite`.
    """
    allowance = allowance or Allowance()
    remote = ray.remote(max_retries=3)(_make_after)
    tasks: dict[str, ray.ObjectRef[Any]] = {}
    recipes: dict[ray.ObjectRef[Any], Recipe] = {}
    for recipe in missing:
        upstream = [tasks[need.key] for need in recipe.needs if need.key in tasks]
        cpu, gpu = resources[recipe.key].cpu, resources[recipe.key].gpu
        task = remote.options(num_cpus=cpu, num_gpus=gpu, name=recipe.describe())
        ref = task.remote(store, data_root, recipe, gpu, cpu, *upstream)
        tasks[recipe.key] = ref
        recipes[ref] = recipe
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
            recipe = recipes[ready[0]]
            error, seconds = _result(ready[0])
            if error:
                failed[recipe.key] = f"{recipe.describe()}: {error}"
            done(recipe, seconds)
    finally:
        for ref in waiting:  # after an interruption, or when the budget is spent
            ray.cancel(ref, force=True)
    return failed


def _make_after(
    store: Store, root: str, recipe: Recipe, gpus: float, cpus: float, *upstream: tuple[str, float]
) -> tuple[str, float]:
    """Call `make`; return (error, seconds). An error is text, so that other artifacts are made."""
    for error, _ in upstream:
        if error:
            return error, 0.0
    try:
        return "", make(store, root, recipe, gpus, cpus)
    except CannotWrite:
        raise
    except Exception as error:  # a user's builder may raise anything; the failure must name it
        return f"{type(error).__name__}: {error}", 0.0


def _result(task: ray.ObjectRef[Any]) -> tuple[str, float]:
    """Return what `_make_after` returned; where its worker was killed, Ray's message as error.

    Raises `CannotWrite` where no artifact can be written.
    """
    try:
        result: tuple[str, float] = ray.get(task)
        return result
    except RayError as error:
        cause = error.cause if isinstance(error, RayTaskError) else error
        if isinstance(cause, CannotWrite):
            raise CannotWrite(str(cause)) from error
        return f"{type(cause).__name__}: {cause}", 0.0
