"""The four packages and the direction of their imports, read from the source."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from unlearn.attacks.classifiers import ATTACKS
from unlearn.attacks.generators import PROBES
from unlearn.methods import METHODS
from unlearn.models import MODELS

ROOT = Path(__file__).parent.parent
MAY = {
    "unlearn": {"unlearn"},
    "sweeps": {"sweeps", "unlearn"},
    "serve": {"serve", "unlearn"},
    "cluster": {"cluster", "sweeps", "serve", "unlearn"},
}
FOREIGN = (
    *("ray", "optuna", "fastapi", "pyarrow", "matplotlib"),
    *("pandas", "sklearn", "mlxtend", "scipy"),
)
PURE = {
    "torch",
    "torchvision",
    "timm",
    "numpy",
    "safetensors",
    "fsspec",
    "sklearn",
}  # fsspec comes with torch


def imported(file: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return {name.split(".")[0] for name in names}


@pytest.mark.parametrize("room", MAY)
def test_a_room_imports_only_rooms_below_it(room: str) -> None:
    for file in (ROOT / room).rglob("*.py"):
        assert imported(file) & MAY.keys() <= MAY[room], file


def test_unlearn_imports_nothing_but_the_science() -> None:
    for file in (ROOT / "unlearn").rglob("*.py"):
        foreign = (
            {name for name in imported(file) if name not in sys.stdlib_module_names}
            - PURE
            - {"unlearn"}
        )
        assert not foreign, (file, foreign)


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
    named = set(
        re.findall(r"`([\w-]+)`", (ROOT / "README.md").read_text().split("## One method")[0])
    )
    assert {*MODELS, *METHODS, *PROBES, *ATTACKS} <= named


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
