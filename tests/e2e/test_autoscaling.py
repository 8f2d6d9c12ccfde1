"""Cells that no node can take show as demand, and nodes of Ray's fake provider take them."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from sweeps.rows.results import Results
from tests.e2e.conftest import Amnesia
from tests.e2e.raylets import Raylets

SPEC = """
name: scaled
models: [cnn]
method: fine-tune
forget: [[1]]
grid: {steps: [5, 6, 7, 8]}
train: {steps: 20}
resources: {cells_per_trial: 1}
"""
HEAD = "ray.head.default"  # the fake provider knows the head by this name alone
CONFIG: dict[str, Any] = {
    "cluster_name": "fake",
    "max_workers": 2,
    "idle_timeout_minutes": 5,
    "provider": {
        "type": "fake_multinode",
        "use_node_id_as_ip": True,
        "disable_node_updaters": True,
        "disable_launch_config_check": True,
    },
    "available_node_types": {
        HEAD: {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
        "worker": {"resources": {"CPU": 1}, "node_config": {}, "max_workers": 2},
    },
    "head_node_type": HEAD,
    "upscaling_speed": 1.0,
    # what `ray up` fills in and `ray start` expects
    **{name: {} for name in ("auth", "docker", "file_mounts")},
    **{name: [] for name in ("cluster_synced_files", "rsync_exclude", "rsync_filter")},
    **{name: [] for name in ("initialization_commands", "setup_commands")},
    **{f"{role}_setup_commands": [] for role in ("head", "worker")},
    **{f"{role}_start_ray_commands": [] for role in ("head", "worker")},
    "file_mounts_sync_continuously": False,
}
pytestmark = pytest.mark.cluster


@pytest.fixture
def raylets(tmp_path: Path) -> Iterator[Raylets]:
    """A head without a CPU that starts nodes as demand asks for them."""
    (tmp_path / "nodes").mkdir()
    scaling = {"RAY_FAKE_CLUSTER": "1", "AUTOSCALER_UPDATE_INTERVAL_S": "3"}
    with closing(Raylets(tmp_path / "nodes")) as cluster:
        provider = {**CONFIG["provider"], "gcs_address": cluster.address}
        config = tmp_path / "autoscaling.json"
        config.write_text(json.dumps({**CONFIG, "provider": provider}))
        cluster.start("head", 0, f"--autoscaling-config={config}", **scaling)
        yield cluster


def status(raylets: Raylets) -> str:
    """What `ray status` prints."""
    ray = str(Path(sys.executable).with_name("ray"))
    shown = subprocess.run(
        [ray, "status", "--address", raylets.address],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return shown.stdout + shown.stderr


def test_waiting_cells_bring_nodes(raylets: Raylets, amnesia: Amnesia, tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text(SPEC)
    run = amnesia("run", "spec.yaml", "--address", raylets.address, cwd=tmp_path)
    deadline = time.monotonic() + 240
    seen = ""
    while "pending" not in seen.partition("Demands:")[2]:
        seen = status(raylets)
        assert run.poll() is None, run.communicate()[0]
        assert time.monotonic() < deadline, seen
    output, _ = run.communicate(timeout=500)
    assert run.returncode == 0, output
    assert "it waits until a larger one joins" in output
    rows = Results(str(tmp_path / "results")).read("scaled")
    assert len(rows) == 4 == rows["cell_id"].nunique()
    assert len(raylets.alive()) > 1
