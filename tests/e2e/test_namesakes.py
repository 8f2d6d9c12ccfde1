"""A user's folder as it may be: modules with our names, and a long temporary folder for Ray.

`make test` sees the same of a job among namesakes (`test_jobs.py`), and of each part by itself
(`tests/cluster/test_own.py` and `test_ray_session.py`).
"""

from pathlib import Path

import pandas as pd
import pytest

from tests.cluster.test_own import impostors
from tests.e2e.conftest import Amnesia
from tests.e2e.terminal import ROOT

SPEC = """
name: theirs
models: ["nets:linear"]
method: fine-tune
forget: [[1]]
unlearn: {steps: 5}
train: {steps: 10}
"""
NETS = """
from torch import nn
def linear(shape, classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(28 * 28, classes))
"""


@pytest.mark.cluster
def test_a_sweep_runs_among_namesakes_and_in_a_long_temporary_folder(
    amnesia: Amnesia, tmp_path: Path
) -> None:
    """Their builder is found, their `unlearn/`, `sweeps/` and `serve/` are not taken for ours."""
    theirs = impostors(tmp_path, "unlearn", "sweeps", "serve")
    (theirs / "nets.py").write_text(NETS)
    (theirs / "spec.yaml").write_text(SPEC)
    long = theirs / ("long" * 20)
    long.mkdir()

    run = amnesia("run", "spec.yaml", cwd=theirs, PYTHONPATH=f"{theirs}:{ROOT}", TMPDIR=str(long))
    output, _ = run.communicate(timeout=400)

    assert run.returncode == 0, output
    assert "TMPDIR is too long for Ray's sockets" in output
    assert pd.read_parquet(theirs / "results" / "v1")["status"].tolist() == ["ok"]
