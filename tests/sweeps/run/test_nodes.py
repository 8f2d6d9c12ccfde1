"""Each node reads data sets from its own folder; a node that lacks one is refused by name."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray
from ray.exceptions import NodeDiedError

from sweeps.run import nodes
from sweeps.run.nodes import check_data, data_root_here, missing_data
from tests.sweeps import builders as make
from unlearn.errors import BadInput


def test_a_nodes_own_folder_wins_over_the_drivers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AMNESIA_DATA", "/own")
    assert data_root_here("/drivers") == "/own"
    monkeypatch.delenv("AMNESIA_DATA")
    assert data_root_here("/drivers") == "/drivers"


def test_what_a_node_lacks_is_told_with_the_way_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AMNESIA_DATA", raising=False)
    monkeypatch.setattr(nodes, "load", unreadable)
    assert missing_data(["mnist5k"], str(tmp_path)) == ""
    assert missing_data(["mnist5k", "cifar10"], str(tmp_path)) == "cifar10: put it there"


def unreadable(name: str, root: Path) -> None:
    if name != "mnist5k":
        raise BadInput("put it there")


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the task on each of two nodes returns or raises; the nodes are a and b."""
    given: dict[str, Any] = {"a": "", "b": ""}
    found = [{"NodeID": name, "NodeName": f"{name}.example", "Alive": True} for name in given]

    def get(node: str) -> Any:
        if isinstance(given[node], Exception):
            raise given[node]
        return given[node]

    def options(scheduling_strategy: Any) -> Any:
        return SimpleNamespace(remote=lambda *_: scheduling_strategy.node_id)

    monkeypatch.setattr(nodes, "NodeAffinitySchedulingStrategy", affinity)
    monkeypatch.setattr(ray, "nodes", lambda: found)
    monkeypatch.setattr(ray, "get", get)
    monkeypatch.setattr(ray, "remote", lambda **_: lambda task: SimpleNamespace(options=options))
    return given


def affinity(node: str, soft: bool) -> SimpleNamespace:
    return SimpleNamespace(node_id=node)


def test_a_node_without_the_data_is_refused_by_its_name(
    answers: dict[str, Any], tmp_path: Path
) -> None:
    plan = make.plan(tmp_path, make.sweep())
    check_data(plan, "data")
    answers["b"] = "cifar10: put it there"
    with pytest.raises(BadInput, match=r"^node b\.example: cifar10: put it there$"):
        check_data(plan, "data")


def test_a_node_that_dies_meanwhile_is_passed_over(answers: dict[str, Any], tmp_path: Path) -> None:
    answers["a"] = NodeDiedError("gone")
    check_data(make.plan(tmp_path, make.sweep()), "data")
