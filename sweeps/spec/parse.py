"""Reading spec files: YAML documents, changes to them, and every key checked on its way into a `Sweep`."""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import yaml

from sweeps.spec.cells import frozen
from sweeps.spec.sweep import FILES, Evaluation, Knobs, Resources, Search, Sweep, Train
from unlearn.attacks import ATTACKS, make_attack
from unlearn.data import DATASETS
from unlearn.errors import BadInput, lookup, require, unknown_keys
from unlearn.knobs import typed
from unlearn.methods import METHODS
from unlearn.models import task_of

SHIPPED = Path(__file__).parent / "shipped"
TRAIN = {  # what a spec that says nothing gets
    "generator": {"steps": 2000, "batch": 64, "lr": 2e-3, "kl_weight": 2.0, "z_dropout": 0.1},
    "classifier": {"steps": 600, "batch": 64, "lr": 2e-3},
}


def read_spec(spec: str, changes: list[str]) -> list[Sweep]:
    """The sweeps of a spec file, or of a shipped spec by name, with `key=value` changes applied.

    A file may hold several documents (`---`): they run together. Raises `BadInput` that names the key and the choices.
    """
    sweeps = [parse(document) for document in read_documents(spec, changes)]
    names = [sweep.name for sweep in sweeps]
    require(
        len(set(names)) == len(names),
        f"{spec} names two sweeps alike; give each document its own name",
    )
    return sweeps


def read_documents(spec: str, changes: list[str]) -> list[dict[str, Any]]:
    """The documents of a spec file as they stand, changes applied and files named for any folder; keys not yet
    checked."""
    path = Path(spec) if Path(spec).suffix or Path(spec).is_file() else SHIPPED / f"{spec}.yaml"
    if not path.is_file():
        raise BadInput(
            f"no spec {spec!r}: neither a file nor a shipped one; shipped: {', '.join(shipped())}"
        )
    try:
        documents = list(yaml.safe_load_all(path.read_text(encoding="utf-8")))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        place = getattr(error, "problem_mark", None)
        where = f" at line {place.line + 1}" if place else ""
        raise BadInput(
            f"{path} is not YAML{where}: {getattr(error, 'problem', None) or 'not text'}"
        ) from error
    require(
        len(documents) > 0,
        f"{path} is empty; see `amnesia plan --list` for shipped specs to start from",
    )
    for document in documents:
        require(
            isinstance(document, dict),
            f"{path} must hold `key: value` lines, not {type(document).__name__}",
        )
    for change in changes:
        _apply(documents, change)
    return [_placed(document) for document in documents]


def _placed(document: dict[str, Any]) -> dict[str, Any]:
    """The document with the paths of its model's files made absolute, as an option or at the top."""
    files = {
        key: str(Path(value).absolute())
        for key, value in document.items()
        if key in FILES and type(value) is str
    }
    options = document.get("options")
    return document | files | ({"options": _placed(options)} if isinstance(options, dict) else {})


def shipped() -> list[str]:
    """Names of the specs that come with the installation."""
    return sorted(path.stem for path in SHIPPED.glob("*.yaml"))


def _apply(documents: list[dict[str, Any]], change: str) -> None:
    """`train.steps=300` in every document, or `sweep-name:train.steps=300` in one."""
    key, equals, text = change.partition("=")
    require(bool(equals and key), f"--set {change!r} must be key=value, as in train.steps=300")
    only, colon, path = key.rpartition(":")
    chosen = [d for d in documents if not colon or d.get("name") == only]
    require(len(chosen) > 0, f"--set {change!r}: no sweep is named {only!r}")
    for document in chosen:
        *parents, leaf = path.split(".")
        for parent in parents:
            document = document.setdefault(parent, {})
            require(
                isinstance(document, dict), f"--set {change!r}: {parent} holds a value, not keys"
            )
        try:
            document[leaf] = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise BadInput(f"--set {change!r}: the value is not YAML") from error


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
    """One document of a spec file as a checked `Sweep`."""
    unknown_keys("the spec", document, KEYS)
    for key, value in document.items():
        _check_finite(key, value)
    for key in ("name", "models", "method", "forget"):
        require(key in document, f"the spec lacks the key {key!r}")
    dataset = document.get("dataset", "mnist5k")
    classes = lookup("data set", dataset, DATASETS).classes
    models = tuple(str(model) for model in _list("models", document["models"]))
    resources = dict(_section(document, "resources"))
    if resources.get("cells_per_trial") == "auto":
        resources["cells_per_trial"] = 0
    train = _section(document, "train")
    return Sweep(
        name=str(document["name"]),
        dataset=dataset,
        models=models,
        methods=tuple(str(name) for name in _list("method", document["method"])),
        forget=_forget_sets(document["forget"], classes),
        seeds=tuple(_whole("seeds", seed) for seed in _list("seeds", document.get("seeds", [0]))),
        train=tuple(
            (model, _record("train", Train, {**TRAIN[task_of(model)], **train})) for model in models
        ),
        options=_options(document),
        unlearn=tuple(sorted(_section(document, "unlearn").items())),
        grid=tuple(
            (k, tuple(_list(f"grid.{k}", v))) for k, v in sorted(_section(document, "grid").items())
        ),
        search=_search(document),
        eval=_evaluation(document),
        resources=_record("resources", Resources, resources),
    )


def _check_finite(where: str, value: Any) -> None:
    """Refuse an infinity or NaN at any depth: no JSON holds it, so nothing could be named by it."""
    if isinstance(value, dict):
        for key, inner in value.items():
            _check_finite(f"{where}.{key}", inner)
    elif isinstance(value, list):
        for inner in value:
            _check_finite(where, inner)
    else:
        require(
            not isinstance(value, float) or math.isfinite(value),
            f"{where} must be a finite number, not {value}",
        )


def _section(document: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = document.get(key)
    require(
        value is None or isinstance(value, dict),
        f"{key} must hold `key: value` lines, not {value!r}",
    )
    return value or {}


def _list(where: str, value: Any) -> list[Any]:
    items = value if isinstance(value, list) else [value]
    require(len(items) > 0 and items != [None], f"empty axis {where!r}; give at least one value")
    require(
        len({repr(item) for item in items}) == len(items),
        f"axis {where!r} names a value twice: {items}",
    )
    return items


def _whole(where: str, value: Any) -> int:
    require(
        isinstance(value, int) and not isinstance(value, bool),
        f"{where} must be whole numbers, not {value!r}",
    )
    return int(value)


def _options(document: Mapping[str, Any]) -> Knobs:
    """Options of the model's builder; a weights file of one's own is known by its content, wherever it lies.

    `weights` is the original itself; `options: {pretrained: PATH}` is where every training starts.
    """
    options = dict(_section(document, "options"))
    require(
        "weights" not in options,
        "options.weights is no option; give `weights: PATH` at the top of the spec",
    )
    options |= {"weights": str(document["weights"])} if "weights" in document else {}
    for key in FILES:
        if isinstance(options.get(key), str):
            path = Path(options[key])
            require(path.is_file(), f"{key}: file {path} does not exist")
            options |= {f"{key}_sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    for key, value in options.items():
        _check_option(f"options.{key}", value)
    return frozen(options)


def _check_option(where: str, value: Any) -> None:
    """Refuse what a row's JSON would not give back."""
    if isinstance(value, list):
        for inner in value:
            _check_option(where, inner)
        return
    fits = value is None or isinstance(value, str | int | float)
    require(
        fits, f"{where} must be text, a number, true, false, null or a list of them, not {value!r}"
    )


def _forget_sets(value: Any, classes: int) -> tuple[tuple[int, ...], ...]:
    """`each`, or a list of classes, or a list of lists of classes."""
    if value == "each":
        return tuple((label,) for label in range(classes))
    items = [item if isinstance(item, list) else [item] for item in _list("forget", value)]
    sets = tuple(tuple(sorted(_whole("forget", label) for label in labels)) for labels in items)
    require(
        len(set(sets)) == len(sets),
        f"axis 'forget' names a set of classes twice: {value}; keep one of them",
    )
    return sets


def _search(document: Mapping[str, Any]) -> tuple[tuple[str, Search], ...]:
    """A search for each method, in its own default space less what `grid` varies; a space that the spec states is one
    method's."""
    section = dict(_section(document, "search"))
    if not section:
        return ()
    methods, stated = _list("method", document["method"]), section.pop("space", None) or {}
    require(
        isinstance(stated, dict), f"search.space must hold knob: [low, high] lines, not {stated!r}"
    )
    require(
        not stated or len(methods) == 1,
        "a search.space is one method's; give each method its own document",
    )
    rest = _typed("search", Search, section)
    require("trials" in rest, "search lacks the key 'trials'")
    found = []
    for name in methods:
        default = {
            k: v
            for k, v in lookup("method", name, METHODS).space.items()
            if k not in _section(document, "grid")
        }
        space = stated or default
        require(
            len(space) > 0,
            f"method {name} has no search space of its own; give search.space or leave it out",
        )
        axes = tuple(
            (knob, tuple(_list(f"search.space.{knob}", choices)))
            for knob, choices in sorted(space.items())
        )
        try:
            found.append((name, Search(space=axes, **rest)))
        except BadInput as error:
            raise BadInput(f"{error} (method {name})") from error
    return tuple(found)


def _evaluation(document: Mapping[str, Any]) -> Evaluation:
    section = dict(_section(document, "eval"))
    asked = _section(section, "attack_knobs")
    made = _record(
        "eval", Evaluation, {key: value for key, value in section.items() if key != "attack_knobs"}
    )
    changed = {}
    for name in asked:
        require(
            name in made.attacks,
            f"eval.attack_knobs names {name!r}, which is not among eval.attacks; add it",
        )
        try:
            knobs = asdict(make_attack(name, _section(asked, name)))
        except BadInput as error:
            raise BadInput(f"eval.attack_knobs: {error}") from error
        if own := {
            knob: value for knob, value in knobs.items() if value != getattr(ATTACKS[name], knob)
        }:
            changed[name] = own
    return replace(made, attack_knobs=json.dumps(changed, sort_keys=True))


def _record(where: str, kind: type, values: Mapping[str, Any]) -> Any:
    """A frozen record from a section of the spec."""
    return kind(**_typed(where, kind, values))


def _typed(where: str, kind: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """`values` as the types of the record's fields; whole floats pass as integers."""
    types = {f.name: f.type for f in fields(kind)}
    unknown_keys(where, values, types)
    return {key: _as(f"{where}.{key}", value, types[key]) for key, value in values.items()}


def _as(where: str, value: Any, kind: Any) -> Any:
    return tuple(_list(where, value)) if kind == tuple[str, ...] else typed(where, value, kind)
