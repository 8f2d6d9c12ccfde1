"""The packages and the direction of their imports, read from the source."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from unlearn.attacks import ATTACKS
from unlearn.methods import METHODS
from unlearn.models import MODELS

ROOT = Path(__file__).parent.parent
MAY = {
    "unlearn": {"unlearn"},
    "sweeps": {"sweeps", "unlearn"},
    "serve": {"serve", "unlearn"},
    "cluster": {"cluster", "sweeps", "serve", "unlearn"},
}
PURE = {"torch", "torchvision", "timm", "numpy", "safetensors", "fsspec", "sklearn", "scipy", "PIL"}
ONLY = {"ray": "run", "optuna": "plan", "matplotlib": "report"}  # in `sweeps`
FOLDERS = ("spec", "plan", "run", "compute", "rows", "choose", "report")
FOREIGN = (
    *("ray", "optuna", "fastapi", "pyarrow", "matplotlib"),
    *("pandas", "sklearn", "mlxtend", "scipy"),
)


def modules() -> dict[str, Path]:
    """Every module of the four packages by its dotted name."""
    found = {}
    for package in MAY:
        for file in (ROOT / package).rglob("*.py"):
            parts = file.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts).removesuffix(".__init__")] = file
    return found


def imported_modules(file: Path) -> set[str]:
    """What a file imports anywhere in it, by dotted name, `from a import b` as `a.b` and `a`."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def imported(file: Path) -> set[str]:
    """The top-level packages that a file imports."""
    return {name.split(".")[0] for name in imported_modules(file)}


def circle(graph: dict[str, set[str]]) -> list[str]:
    """A path that leads back to its start; [] where the graph has none."""
    finished: set[str] = set()

    def visit(node: str, path: list[str]) -> list[str]:
        if node in path:
            return [*path[path.index(node) :], node]
        if node in finished:
            return []
        for other in sorted(graph.get(node, set())):
            found = visit(other, [*path, node])
            if found:
                return found
        finished.add(node)
        return []

    for node in sorted(graph):
        found = visit(node, [])
        if found:
            return found
    return []


def test_a_circle_is_found() -> None:
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    assert circle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


@pytest.mark.parametrize("package", MAY)
def test_a_package_imports_only_packages_below_it(package: str) -> None:
    for file in (ROOT / package).rglob("*.py"):
        assert imported(file) & MAY.keys() <= MAY[package], file


@pytest.mark.parametrize("library", ONLY)
def test_only_one_folder_of_sweeps_knows_the_library(library: str) -> None:
    users = {
        file.relative_to(ROOT / "sweeps").parts[0]
        for file in (ROOT / "sweeps").rglob("*.py")
        if library in imported(file)
    }
    assert users == {ONLY[library]}


def test_no_module_imports_itself_through_others() -> None:
    """Also not by imports inside of functions. A package's `__init__` may import its modules."""
    known = modules()
    graph = {name: imported_modules(file) & known.keys() for name, file in known.items()}
    for name, file in known.items():
        if file.name == "__init__.py":
            graph[name].discard(name)  # `from package import module` in the package itself
    assert circle(graph) == []


def test_no_folder_of_sweeps_imports_itself_through_others() -> None:
    graph: dict[str, set[str]] = {folder: set() for folder in FOLDERS}
    for folder in FOLDERS:
        for file in (ROOT / "sweeps" / folder).rglob("*.py"):
            for name in imported_modules(file):
                top, *rest = name.split(".")
                if top == "sweeps" and rest and rest[0] != folder:
                    graph[folder].add(rest[0])
    assert circle(graph) == []


def test_unlearn_imports_nothing_but_the_science() -> None:
    allowed = PURE | {"unlearn"} | set(sys.stdlib_module_names)
    for file in (ROOT / "unlearn").rglob("*.py"):
        assert imported(file) <= allowed, file


def test_unlearn_imports_where_the_rest_is_not_installed() -> None:
    """Every module of `unlearn`, in a process that cannot import Ray, Optuna, pyarrow and so on."""
    modules = [
        ".".join(f.relative_to(ROOT).with_suffix("").parts)
        for f in (ROOT / "unlearn").rglob("*.py")
    ]
    code = f"""
import importlib, sys
for name in {FOREIGN}:
    sys.modules[name] = None
for name in {sorted(modules)}:
    importlib.import_module(name.removesuffix(".__init__"))
"""
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr


def test_readme_names_all_that_a_spec_can_name() -> None:
    named = set(re.findall(r"`([\w-]+)`", (ROOT / "README.md").read_text()))
    assert {*MODELS, *METHODS, *ATTACKS} <= named


def test_importing_changes_nothing(tmp_path: Path) -> None:
    """No folder, seed, log set-up or thread count at import time."""
    code = """
import os, logging, torch
def state():
    handlers = list(logging.getLogger().handlers)
    return torch.initial_seed(), torch.get_num_threads(), handlers, os.listdir(".")
before = state()
import cluster.main, cluster.demo, sweeps.run.run, sweeps.report.page, serve.launch
assert before == state(), (before, state())
"""
    (tmp_path / "here").mkdir()
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path / "here",
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
    )
    assert run.returncode == 0, run.stderr


OWN = {"run": "ray", "plan": "optuna", "report": "matplotlib"}  # in `sweeps`, by folder


@pytest.mark.parametrize("folder", OWN)
def test_in_sweeps_one_folder_knows_each_library(folder: str) -> None:
    for file in (ROOT / "sweeps").rglob("*.py"):
        knows = OWN[folder] in imported(file)
        assert not knows or folder in file.relative_to(ROOT / "sweeps").parts, file
