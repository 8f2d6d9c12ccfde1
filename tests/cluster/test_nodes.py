"""`plan` compares what trials ask for with the nodes that would run them."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray.util.state

from cluster import nodes
from cluster.main import entry
from cluster.nodes import describe_resources, nodes_of
from sweeps.run.resources import Node
from tests.sweeps import builders as make
from unlearn.errors import BadInput


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine of 4 CPUs and no GPU, and no Ray in the environment."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(nodes, "this_machine", lambda: Node(4, 0))


def test_a_ray_that_does_not_count_cpus_costs_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delattr(ray._private.utils, "get_num_cpus")
    monkeypatch.setattr("os.cpu_count", lambda: 6)
    assert nodes.this_machine().cpu == 6
    assert "has no ray._private.utils.get_num_cpus: a container's" in capsys.readouterr().err


def described(folder: Path, address: str | None = None, **resources: Any) -> str:
    return describe_resources(make.plan(folder, make.sweep(resources=resources)), address)


def test_without_an_address_a_plan_is_compared_with_this_machine(
    machine: None, tmp_path: Path
) -> None:
    assert described(tmp_path, cpu=1.5) == "resources: s runs 2 trials at once on this machine"


def test_without_a_gpu_an_open_share_asks_for_none(machine: None, tmp_path: Path) -> None:
    line = described(tmp_path, cpu=1, gpu="auto")
    assert line == "resources: s runs 4 trials at once on this machine"


def test_a_plan_says_that_run_would_refuse_it_and_what_to_change(
    machine: None, tmp_path: Path
) -> None:
    assert described(tmp_path, cpu=8, gpu=1) == (
        "resources: this machine: sweep s asks 8 CPU and 1 GPU of one node, the largest has 4 CPU "
        "and 0 GPU; `run` refuses it; --set resources.cpu=4 --set resources.gpu=0"
    )


def test_a_cluster_is_asked_for_its_nodes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(nodes, "nodes_of", lambda address: [Node(2, 0), Node(16, 4)])
    one = described(tmp_path, "head:6379", cpu=1, gpu=0.5)
    assert one == "resources: s runs 8 trials at once on Ray at head:6379 (2 nodes)"
    two = described(tmp_path, "head:6379", cpu=32)
    assert "the largest has 16 CPU and 4 GPU; `run` waits until a larger one joins" in two


def test_the_nodes_are_those_that_are_alive_with_all_that_they_have(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = [SimpleNamespace(resources_total={"CPU": 8.0, "GPU": 1.0, "memory": 1e9})]
    asked: dict[str, Any] = {}

    def list_nodes(**options: Any) -> list[SimpleNamespace]:
        asked.update(options)
        return found

    monkeypatch.setattr(nodes, "check_reachable", lambda address: None)
    monkeypatch.setattr(ray.util.state, "list_nodes", list_nodes)
    assert nodes_of("head:6379") == [Node(8, 1)]
    assert asked["filters"] == [("state", "=", "ALIVE")]


def test_an_address_where_nothing_listens_is_refused() -> None:
    with pytest.raises(BadInput, match=r"no Ray at 127\.0\.0\.1:1"):
        nodes_of("127.0.0.1:1")


def test_the_command_prints_it(
    machine: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "spec.yaml").write_text(
        "name: s\nmodels: cnn\nmethod: fine-tune\nforget: [0]\ngrid: {steps: [5]}\n"
    )
    places = ["--store", str(tmp_path / "store"), "--results", str(tmp_path / "results")]
    large = ["--set", "resources.cpu=8"]
    assert entry(["plan", str(tmp_path / "spec.yaml"), *places, *large]) == 0
    assert "sweep s asks 8 CPU and 0 GPU of one node" in capsys.readouterr().out
