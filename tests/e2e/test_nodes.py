"""Nodes of different sizes that die and join while a sweep runs, and a driver that is killed."""

import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from sweeps.rows.results import Results
from tests.e2e.conftest import Amnesia
from tests.e2e.raylets import Raylets
from tests.e2e.rows import wait_for_rows

SPEC = """
name: nodes
models: [cnn]
method: fine-tune
forget: [[1]]
grid: {steps: [300, 301, 302, 303, 304, 305, 306, 307, 308, 309], lr: [1.0e-4, 1.0e-3]}
train: {steps: 20}
resources: {cells_per_trial: 1}
"""
PLANNED = 20


@pytest.fixture
def raylets(tmp_path: Path) -> Iterator[Raylets]:
    """A head with one CPU, and nodes with one and two."""
    (tmp_path / "nodes").mkdir()
    with closing(Raylets(tmp_path / "nodes")) as cluster:
        for name, cpus in {"head": 1, "small": 1, "large": 2}.items():
            cluster.start(name, cpus)
        yield cluster


def wait_for_cells_on(raylets: Raylets, node: str, run: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + 300
    while not raylets.trials_on(node):
        assert run.poll() is None, run.communicate()[0]
        assert time.monotonic() < deadline, "the node that joined got no cells within 300 s"
        time.sleep(0.5)


@pytest.mark.cluster
def test_the_rows_are_exact_though_nodes_and_the_driver_die(
    raylets: Raylets, amnesia: Amnesia, tmp_path: Path
) -> None:
    (tmp_path / "spec.yaml").write_text(SPEC)
    command = ["run", "spec.yaml", "--address", raylets.address]

    killed = amnesia(*command, cwd=tmp_path)
    wait_for_rows(tmp_path / "results", "nodes", killed, 2)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    before = Results(str(tmp_path / "results")).read("nodes")

    run = amnesia(*command, cwd=tmp_path)
    raylets.start("late", cpus=2)
    late = raylets.alive()["late"]
    wait_for_cells_on(raylets, late, run)
    raylets.kill("large")
    output, _ = run.communicate(timeout=600)

    assert run.returncode == 0, output
    after = Results(str(tmp_path / "results")).read("nodes")
    assert len(after) == PLANNED == after["cell_id"].nunique()
    assert set(after["status"]) == {"ok"}
    kept = after.set_index("cell_id")["created_at"][before["cell_id"]]
    assert kept.tolist() == before["created_at"].tolist()
    warnings = [line for line in output.splitlines() if line.startswith("warning: ")]
    assert len([line for line in warnings if "died" in line]) in (1, 2), output
    for noise in ("Traceback", "state-dump", "(raylet)", "Raylet is terminated"):
        assert noise not in output
