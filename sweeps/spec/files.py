"""Read spec files: YAML documents, with changes from the command line applied."""

import os
from pathlib import Path
from typing import Any

from sweeps.spec.documents import load_documents
from sweeps.spec.parse import parse
from sweeps.spec.sweep import FILES, Sweep
from unlearn.errors import BadInput, require
from unlearn.own_data import is_loader, is_own

SHIPPED = Path(__file__).parent / "shipped"


def read_spec(spec: str, changes: list[str]) -> list[Sweep]:
    """Return the sweeps of a spec file, or of a shipped spec by name.

    changes: `key=value` texts, applied first

    A file may hold several documents (`---`), which run together. Raises `BadInput`, which names
    the key and its choices.
    """
    sweeps = [parse(document) for document in read_documents(spec, changes)]
    names = [sweep.name for sweep in sweeps]
    require(
        len(set(names)) == len(names),
        f"{spec} names two sweeps alike; give each document its own name",
    )
    return sweeps


def read_documents(spec: str, changes: list[str]) -> list[dict[str, Any]]:
    """Return the documents of a spec file, changes applied, keys not yet checked.

    Paths of the model's files are made absolute, so that they hold in any working directory.
    """
    named_file = Path(spec).suffix or Path(spec).is_file()
    path = Path(spec) if named_file else SHIPPED / f"{spec}.yaml"
    if not path.is_file():
        raise BadInput(
            f"no spec {spec!r}: neither a file nor a shipped one; shipped: {', '.join(shipped())}"
        )
    documents = _load_yaml(path)
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
    return [_with_absolute_paths(document) for document in documents]


def _load_yaml(path: Path) -> list[Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise BadInput(f"{path} is not YAML: it is not text in UTF-8") from error
    except OSError as error:
        raise BadInput(f"cannot read {path}: {error.strerror}; check its permissions") from error
    return load_documents(text, str(path))


def _with_absolute_paths(document: dict[str, Any]) -> dict[str, Any]:
    """Make the paths absolute: of the model's files, at the top and under `options`; of indices;
    of a data set of one's own.
    """
    changed = dict(document)
    for key in FILES:
        if isinstance(document.get(key), str):
            changed[key] = _absolute(document[key])
    if is_own(str(document.get("dataset"))) and not is_loader(document["dataset"]):
        changed["dataset"] = _absolute(document["dataset"])
    if isinstance(document.get("options"), dict):
        changed["options"] = _with_absolute_paths(document["options"])
    if isinstance(document.get("forget"), list):
        changed["forget"] = [_with_absolute_indices(item) for item in document["forget"]]
    return changed


def _with_absolute_indices(forget: Any) -> Any:
    if isinstance(forget, dict) and isinstance(forget.get("indices"), str):
        return {**forget, "indices": _absolute(forget["indices"])}
    return forget


def _absolute(path: str) -> str:
    return str(Path(os.path.expanduser(path)).absolute())


def shipped() -> list[str]:
    """Return the names of the shipped specs, sorted."""
    return sorted(path.stem for path in SHIPPED.glob("*.yaml"))


def _apply(documents: list[dict[str, Any]], change: str) -> None:
    """Apply `train.steps=300` to every document, or `sweep-name:train.steps=300` to one."""
    key, equals, text = change.partition("=")
    require(bool(equals and key), f"--set {change!r} must be key=value, as in train.steps=300")
    only, colon, path = key.rpartition(":")
    chosen = [d for d in documents if not colon or d.get("name") == only]
    require(len(chosen) > 0, f"--set {change!r}: no sweep is named {only!r}")
    *parents, leaf = path.split(".")
    for document in chosen:
        section = document
        for parent in parents:
            inner = section.get(parent)
            section[parent] = {} if inner is None else inner  # `train:` alone is an empty section
            section = section[parent]
            require(
                isinstance(section, dict), f"--set {change!r}: {parent} holds a value, not keys"
            )
        section[leaf] = _value(change, text)  # one per document: a later change may go into it


def _value(change: str, text: str) -> Any:
    values = load_documents(text, f"the value of --set {change!r}")
    require(len(values) <= 1, f"--set {change!r} holds {len(values)} documents; give one value")
    return values[0] if values else None
