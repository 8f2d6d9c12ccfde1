"""A real sweep, small enough for a test: real digits, real Ray, real processes."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

GENERATOR = """
name: small-generator
models: [cvae-mlp]
method: selective-amnesia
forget: [[0], [1, 2]]
grid: {lam: [10, 100, 1000]}
unlearn: {steps: 60}
train: {steps: 120, fisher_samples: 500, judge_steps: 60}
eval: {samples: 40, judges: 1}
"""
CLASSIFIER = """
name: small-classifier
models: [cnn]
method: task-arithmetic
forget: [[1]]
search: {trials: 10, space: {alpha: [-3.0, 0.0], rho: [0.0, 0.99]}}
train: {steps: 120, expert_steps: 20}
"""

Amnesia = Callable[..., subprocess.Popen[str]]


@pytest.fixture(scope="session")
def amnesia() -> Iterator[Amnesia]:
    """Start `amnesia ...` in a process group of its own, its output captured; none outlives the tests."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str, cwd: Path, **environment: str) -> subprocess.Popen[str]:
        run = subprocess.Popen(
            [sys.executable, "-m", "cluster", *arguments],
            cwd=cwd,
            env={
                **os.environ,
                "OMP_NUM_THREADS": "1",
                "PYTHONPATH": str(Path(__file__).parents[2]),
                **environment,
            },
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


@pytest.fixture(scope="module")
def swept(amnesia: Amnesia, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which both small sweeps have run to the end."""
    folder = tmp_path_factory.mktemp("swept")
    (folder / "spec.yaml").write_text(GENERATOR + "---" + CLASSIFIER)
    run = amnesia("run", "spec.yaml", cwd=folder)
    output, _ = run.communicate(timeout=900)
    assert run.returncode == 0, output
    return folder
