"""Look at every node of the cluster before a run: whether it has the data sets."""

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from sweeps.plan.plan import Plan
from unlearn.data import load
from unlearn.errors import BadInput, require


def data_root_here(given: str) -> str:
    """Return this node's folder of data sets: its own $AMNESIA_DATA, else the driver's folder."""
    return os.environ.get("AMNESIA_DATA") or given


def check_data(plan: Plan, data_root: str) -> None:
    """Refuse a cluster with a node that lacks a data set of the plan.

    Such a node would fail each of its cells within moments, and so take most of the sweep. A node
    that joins later and lacks one writes failed rows, which `--retry-failed` computes again.

    data_root: the driver's folder of data sets, for nodes that set no $AMNESIA_DATA
    """
    alive = [node for node in ray.nodes() if node["Alive"]]
    if len(alive) < 2:  # the driver has looked at its own
        return
    nodes = {node["NodeID"]: node["NodeName"] for node in alive}
    names = sorted({work.sweep.dataset for work in plan.work})
    task = ray.remote(num_cpus=0)(missing_data)
    asked = {}
    for node in nodes:
        here = NodeAffinitySchedulingStrategy(node, soft=False)
        asked[node] = task.options(scheduling_strategy=here).remote(names, data_root)
    for node, answer in asked.items():
        with contextlib.suppress(RayError):  # a node that has died lacks nothing
            reason = ray.get(answer)
            require(not reason, f"node {nodes[node]}: {reason}")


def missing_data(names: Iterable[str], data_root: str) -> str:
    """Return why this node cannot read one of the data sets; nothing if it can read all."""
    for name in names:
        try:
            load(name, Path(data_root_here(data_root)))
        except BadInput as error:
            return f"{name}: {error}"
    return ""
