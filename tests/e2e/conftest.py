"""Real sweeps, small enough for a test: real digits, real Ray, real processes."""

import functools
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest
from sklearn.manifold import TSNE

from sweeps.report import projections
from tests.e2e.terminal import ROOT, Terminal

GENERATOR = """
name: small-generator
models: [cvae-mlp]
method: selective-amnesia
forget: [[0], [1, 2]]
grid: {lam: [10, 100, 1000]}
unlearn: {steps: 30}
train: {steps: 60, fisher_samples: 500, judge_steps: 30}
eval: {samples: 40, judges: 1}
"""
CLASSIFIER = """
name: small-classifier
models: [cnn]
method: task-arithmetic
forget: [[1]]
search: {trials: 5, space: {alpha: [-3.0, 0.0], rho: [0.0, 0.99]}}
train: {steps: 120, expert_steps: 20}
"""


class Amnesia(Protocol):
    """Starts `amnesia ARGUMENTS` in a process of its own."""

    def __call__(
        self, *arguments: str, cwd: Path, **environment: str
    ) -> "subprocess.Popen[str]": ...


def environment(*folders: Path) -> dict[str, str]:
    """The environment of a command: our code, and modules in `folders`, can be imported."""
    path = os.pathsep.join(str(folder) for folder in (ROOT, *folders))
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path}


@pytest.fixture(scope="session")
def amnesia() -> Iterator[Amnesia]:
    """Processes in groups of their own, their output captured; none outlives the tests."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str, cwd: Path, **more: str) -> "subprocess.Popen[str]":
        run = subprocess.Popen(
            [sys.executable, "-m", "cluster", *arguments],
            cwd=cwd,
            env={**environment(), **more},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        started.append(run)
        return run

    yield start
    for run in started:
        if run.poll() is None:
            os.killpg(run.pid, signal.SIGKILL)
            run.wait()
        if run.stdout is not None:
            run.stdout.close()


@pytest.fixture
def quick_maps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Projections of a quarter of the usual steps: what a page holds does not depend on them."""
    monkeypatch.setattr(projections, "TSNE", functools.partial(TSNE, max_iter=250))


def no_ray(*_: object, **__: object) -> None:
    """Stands in for `ray_session` where no Ray may start."""
    pytest.fail("this starts a Ray")


@pytest.fixture(scope="session")
def modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder from which the terminal and its workers import."""
    return tmp_path_factory.mktemp("modules")


@pytest.fixture(scope="session")
def terminal(tmp_path_factory: pytest.TempPathFactory, modules: Path) -> Iterator[Terminal]:
    """A terminal with a Ray that all tests share whose subject is not how a Ray starts or dies."""
    scratch = tmp_path_factory.mktemp("terminal")
    running = Terminal(scratch, environment(modules), ray=True)
    try:
        yield running
    finally:
        running.close()


@pytest.fixture(scope="module")
def swept(terminal: Terminal, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which both small sweeps have run to the end."""
    folder = tmp_path_factory.mktemp("swept")
    (folder / "spec.yaml").write_text(GENERATOR + "---" + CLASSIFIER)
    run = terminal.run("run", "spec.yaml", cwd=folder)
    assert run.code == 0, run.err
    return folder
