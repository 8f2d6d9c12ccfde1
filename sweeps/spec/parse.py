"""Check one document of a spec file, key by key, and convert it to a `Sweep`."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from sweeps.spec.recipes import frozen
from sweeps.spec.search import UNITS, Search
from sweeps.spec.sections import Evaluation, Resources, Train
from sweeps.spec.sweep import FILES, Knobs, Sweep
from sweeps.spec.values import (
    as_axis,
    as_list,
    as_record,
    as_texts,
    as_whole,
    check_numbers,
    section_of,
    typed_fields,
)
from unlearn.attacks import make_attack
from unlearn.data import pinned, source_of
from unlearn.errors import BadInput, lookup, require, unknown_keys
from unlearn.forget_sets import ChosenIndices, RandomShare, Subclasses, Subset
from unlearn.knobs import typed
from unlearn.methods import METHODS
from unlearn.methods.base import SearchSpace
from unlearn.models import task_of

TRAIN = {  # defaults per task, for keys that the spec leaves out
    "generator": {"steps": 2000, "batch": 64, "lr": 2e-3, "kl_weight": 2.0, "z_dropout": 0.1},
    "classifier": {"steps": 600, "batch": 64, "lr": 2e-3},
}
# `train: {preset: NAME}`: settings of a network's training that other keys of `train` may change.
PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "full": {  # trains out on CIFAR-10, for a GPU: docs/gpu.md has seconds and accuracy
        "resnet18": {
            "steps": 6336,
            "batch": 256,
            "lr": 0.2,
            "optimizer": "nesterov",
            "weight_decay": 5e-4,
            "label_smoothing": 0.1,
            "ema": 0.995,
            "augment": "crop-flip-cutout",
            "precision": "bf16",
            "channels_last": True,
        },
    },
}
AUTO_GPU = 0.25  # for artifacts, and for cells that are unlearned as one program: docs/gpu.md
KEYS = (
    "name",
    "dataset",
    "models",
    "method",
    "forget",
    "seeds",
    "grid",
    "search",
    "train",
    "unlearn",
    "eval",
    "resources",
    "options",
    "weights",
)


def parse(document: Mapping[str, Any]) -> Sweep:
    """Return one document of a spec file as a checked `Sweep`."""
    unknown_keys("the spec", document, KEYS)
    for key, value in document.items():
        check_numbers(key, value)
    for key in ("name", "models", "method", "forget"):
        require(key in document, f"the spec lacks the key {key!r}")
    name = typed("name", document["name"], str)
    dataset = typed("dataset", document.get("dataset", "mnist5k"), str)
    dataset = pinned(dataset)
    classes = source_of(dataset).classes
    models = as_texts("models", document["models"])
    methods = as_texts("method", document["method"])
    seeds = as_list("seeds", document.get("seeds", [0]))
    grid = sorted(section_of(document, "grid").items())
    resources = dict(section_of(document, "resources"))
    if resources.get("cells_per_trial") == "auto":
        resources["cells_per_trial"] = 0
    if resources.get("gpu") == "auto":
        resources |= {"gpu": AUTO_GPU, "gpu_auto": True}
    return Sweep(
        name=name,
        dataset=dataset,
        models=models,
        methods=methods,
        forget=_forget_sets(document["forget"], classes),
        seeds=tuple(as_whole("seeds", seed) for seed in seeds),
        train=tuple((model, _training(document, model)) for model in models),
        options=_options(document),
        unlearn=tuple(sorted(section_of(document, "unlearn").items())),
        grid=tuple((knob, as_axis("grid", knob, values)) for knob, values in grid),
        search=_search(document),
        eval=_evaluation(document),
        resources=as_record("resources", Resources, resources),
    )


def _training(document: Mapping[str, Any], model: str) -> Train:
    """Return how a model is trained: by the spec, else by its preset, else by the task."""
    stated = dict(section_of(document, "train"))
    preset = stated.pop("preset", None)
    settings = {**TRAIN[task_of(model)], **_preset(preset, model), **stated}
    made: Train = as_record("train", Train, settings)
    return made


def _preset(name: Any, model: str) -> Mapping[str, Any]:
    """Return the settings of a preset for a network; none where no preset is asked for."""
    if name is None:
        return {}
    presets = lookup("train.preset", name, PRESETS)
    require(
        model in presets,
        f"train.preset {name} knows {', '.join(presets)}, not {model}; "
        "set steps, lr and the others yourself",
    )
    return presets[model]


def _options(document: Mapping[str, Any]) -> Knobs:
    """Return the options of the models' builder.

    A weights file is identified by its SHA-256, wherever it lies. `weights` is the original itself;
    every training starts from `options: {pretrained: PATH}`.
    """
    options = dict(section_of(document, "options"))
    require(
        "weights" not in options,
        "options.weights is no option; give `weights: PATH` at the top of the spec",
    )
    if document.get("weights") is not None:
        options["weights"] = typed("weights", document["weights"], str)
    for key in FILES:
        if isinstance(options.get(key), str):
            options[f"{key}_sha256"] = _sha256(key, Path(options[key]))
    for key, value in options.items():
        typed(f"the key options.{key}", key, str)
        _check_option(f"options.{key}", value)
    return frozen(options)


def _sha256(key: str, path: Path) -> str:
    """Hash a file. Raises `BadInput` where it cannot be read."""
    require(path.is_file(), f"{key}: file {path} does not exist")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BadInput(
            f"{key}: cannot read {path}: {error.strerror}; check its permissions"
        ) from error
    return hashlib.sha256(content).hexdigest()


def _check_option(where: str, value: Any) -> None:
    """Refuse a value that JSON, the form of options in a row, would not preserve."""
    if isinstance(value, list):
        for inner in value:
            _check_option(where, inner)
        return
    fits = value is None or isinstance(value, str | int | float)
    require(
        fits, f"{where} must be text, a number, true, false, null or a list of them, not {value!r}"
    )


def _forget_sets(value: Any, classes: int) -> tuple[tuple[int, ...] | Subset, ...]:
    """Return the forget sets of `each`, or a list of classes, lists of them, or subsets."""
    if value == "each":
        return tuple((label,) for label in range(classes))
    sets: list[tuple[int, ...] | Subset] = []
    for item in as_list("forget", value):
        if isinstance(item, dict):
            sets.append(_subset(item))
            continue
        labels = item if isinstance(item, list) else [item]
        sets.append(tuple(sorted(as_whole("forget", label) for label in labels)))
    require(
        len(set(sets)) == len(sets),
        f"axis 'forget' names a set of classes twice: {value}; keep one of them",
    )
    return tuple(sets)


def _subset(item: Mapping[str, Any]) -> Subset:
    """Return the forget set of `random: SHARE`, `indices: FILE` or `subclass: FINE LABELS`."""
    unknown_keys("a forget set", item, ("random", "indices", "subclass"))
    require(
        len(item) == 1,
        "a forget set is `random: SHARE`, `indices: FILE` or `subclass: FINE LABELS`, not "
        f"{dict(item)}",
    )
    if "subclass" in item:
        labels = as_list("subclass", item["subclass"])
        fine = [as_whole("forget.subclass", label) for label in labels]
        return Subclasses(tuple(sorted(fine)))
    if "indices" in item:
        return ChosenIndices.of_file(typed("forget.indices", item["indices"], str))
    return RandomShare(typed("forget.random", item["random"], float))


def _search(document: Mapping[str, Any]) -> tuple[tuple[str, Search], ...]:
    """Return a search per method; () where the spec has none.

    The space is the spec's own, which only one method may have; else each method's default space
    without the knobs that `grid` varies.
    """
    if document.get("search") is None:
        return ()
    section = dict(section_of(document, "search"))
    methods = as_texts("method", document["method"])
    stated = section.pop("space", None) or {}
    require(
        isinstance(stated, dict),
        f"search.space must hold knob: [low, high] lines, not {stated!r}",
    )
    require(
        not stated or len(methods) == 1,
        "a search.space is one method's; give each method its own document",
    )
    rest = typed_fields("search", Search, section)
    require("trials" in rest, "search lacks the key 'trials'")
    varied = section_of(document, "grid")
    found = []
    for name in methods:
        own = _own_space(name, rest.get("units", "steps"))
        default = {knob: axis for knob, axis in own.items() if knob not in varied}
        found.append((name, _search_of(name, stated or default, rest)))
    return tuple(found)


def _own_space(method: str, units: str) -> SearchSpace:
    """Return the method's own space, its budget in `units` where it has one."""
    kind = lookup("method", method, METHODS)
    if lookup("search.units", units, UNITS) and units == "epochs" and kind.epoch_space:
        return kind.epoch_space
    return kind.space


def _search_of(method: str, space: Mapping[str, Any], rest: Mapping[str, Any]) -> Search:
    require(
        len(space) > 0,
        f"method {method} has no search space of its own; give search.space or leave it out",
    )
    axes = [(knob, as_axis("search.space", knob, axis)) for knob, axis in sorted(space.items())]
    try:
        return Search(space=tuple(axes), **rest)
    except BadInput as error:
        raise BadInput(f"{error} (method {method})") from error


def _evaluation(document: Mapping[str, Any]) -> Evaluation:
    """Return the section `eval`; `attack_knobs` keeps only knobs that differ from their default."""
    section = dict(section_of(document, "eval"))
    asked = section_of(section, "attack_knobs")
    section.pop("attack_knobs", None)
    made = as_record("eval", Evaluation, section)
    changed = {}
    for name in asked:
        require(
            name in made.attacks,
            f"eval.attack_knobs names {name!r}, which is not among eval.attacks; add it",
        )
        own = _changed_knobs(name, section_of(asked, name))
        if own:
            changed[name] = own
    complete: Evaluation = replace(made, attack_knobs=json.dumps(changed, sort_keys=True))
    return complete


def _changed_knobs(attack: str, knobs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the knobs that differ from the attack's defaults."""
    try:
        stated = asdict(make_attack(attack, knobs))
    except BadInput as error:
        raise BadInput(f"eval.attack_knobs: {error}") from error
    default = asdict(make_attack(attack, {}))
    return {knob: value for knob, value in stated.items() if value != default[knob]}
