"""Make artifacts: a function per kind, and one for models that train as one program."""

import copy
import sys
import time
from collections.abc import Callable, Hashable, Iterable, Sequence
from math import ceil
from typing import Any

import torch

from sweeps.compute.cache import WorkerCache, configure_worker, device_name, pick_device
from sweeps.spec.recipes import EXPERT, TRAINING, Recipe
from unlearn.artifacts import Store
from unlearn.errors import CannotWrite, NotFinite, one_line
from unlearn.fisher.generators import generator_fisher
from unlearn.generators.judges import train_judge
from unlearn.methods.base import join_curves
from unlearn.models import Weights, task_of
from unlearn.splits import Images, Splits
from unlearn.stacked import can_stack, fit_together
from unlearn.streams import seeded, stream
from unlearn.train import Curve, Schedule, Training, fit, snapshot

Made = tuple[Weights, Curve]
EXPERT_ROUNDS = 20  # trainings of an expert that does not get accurate


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
    """Fine-tune the original on the forget set alone, until it is accurate where that is asked."""
    knobs = {name.removeprefix("expert_"): recipe.knob(name) for name in EXPERT}
    steady = knobs.pop("norms") == "original"
    images = _splits(cache, recipe).train.forget
    asked = dict(recipe.knobs)
    epochs, accuracy = asked.get("expert_epochs", 0.0), asked.get("expert_accuracy", 0.0)
    if epochs:
        knobs["steps"] = max(1, round(epochs * ceil(len(images) / knobs["batch"])))
    generator = stream(recipe.seed, "expert", "train", device=cache.device)
    expert = cache.model(recipe.needs[0])
    weights, curve = fit(expert, images, Training(**knobs), generator, steady=steady)
    if accuracy:
        expert = copy.deepcopy(expert)
    for _ in range(EXPERT_ROUNDS - 1 if accuracy else 0):
        expert.load_state_dict(weights)
        if _accuracy(expert, images) >= accuracy:
            break
        weights, more = fit(expert, images, Training(**knobs), generator, steady=steady)
        curve = join_curves([curve, more])
    return weights, curve


@torch.no_grad()
def _accuracy(model: Any, images: Images) -> float:
    """Compute a classifier's share of right answers."""
    device = next(model.parameters()).device
    right = 0
    for piece in images.to(device).pieces():
        right += int((model(piece.pixels()).argmax(1) == piece.y).sum())
    return right / len(images)


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
    cache = WorkerCache(store, data_root, pick_device(gpus))
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
    cache = WorkerCache(store, data_root, pick_device(gpus))
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
