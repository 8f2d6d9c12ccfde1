"""Actors of a sweep on a Ray of our own: workers that wait already."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.terminal import ROOT

# Ray has the waiting workers import a module, which leaves a file for each of them.
MARK = """
import os
from pathlib import Path
Path(os.environ["WAITING"], str(os.getpid())).touch()
"""
SCRIPT = """
import os, time
import ray
from ray import tune
from sweeps.run.tune import waiting_workers

def trial(config):
    tune.report({"done": 1})

ray.init(address="local", num_cpus=2, include_dashboard=False)
for _ in range(600):
    waiting = os.listdir(os.environ["WAITING"])
    if len(waiting) == 2:
        break
    time.sleep(0.1)
with waiting_workers():
    here = tune.RunConfig(storage_path=os.getcwd())
    result = tune.Tuner(trial, run_config=here).fit()[0]
print("waiting:", str(result.metrics["pid"]) in waiting)
"""


@pytest.mark.cluster
def test_an_actor_is_a_worker_that_waits_not_a_new_process(tmp_path: Path) -> None:
    waiting = tmp_path / "waiting"
    waiting.mkdir()
    (tmp_path / "mark.py").write_text(MARK)
    environment = {
        "PYTHONPATH": f"{tmp_path}:{ROOT}",
        "WAITING": str(waiting),
        "RAY_preload_python_modules": "mark",
        "RAY_worker_niceness": "0",
    }
    script = [sys.executable, "-c", SCRIPT]

    ran = subprocess.run(
        script, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=240
    )

    assert "waiting: True" in ran.stdout, ran.stdout + ran.stderr
