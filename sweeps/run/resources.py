"""Compare what trials ask for with the cluster: how many fit at once, whether a node has enough."""

import sys

import ray

from sweeps.plan.plan import Plan, needed_by
from sweeps.spec.sweep import Resources
from unlearn.errors import require


def slots(needs: Resources) -> int:
    """Return how many trials with these resources this Ray can run at once, at least 1.

    Counts all resources of all nodes, also those in use.
    """
    found = 0
    for node in ray.nodes():
        if not node["Alive"]:
            continue
        has = node["Resources"]
        fit = has.get("CPU", 0) / needs.cpu
        if needs.gpu:
            fit = min(fit, has.get("GPU", 0) / needs.gpu)
        found += int(fit + 1e-9)  # ten times 0.1 GPU are one, in floats too
    return max(1, found)


def resources_by_artifact(plan: Plan) -> dict[str, Resources]:
    """Return artifact key -> resources of the first sweep that needs the artifact."""
    asked: dict[str, Resources] = {}
    for work in plan.work:
        for recipe in needed_by(work.sweep, work.problem):
            asked.setdefault(recipe.key, work.sweep.resources)
    return asked


def check_resources(plan: Plan, growing: bool) -> None:
    """Refuse resources that no node has, because Ray would wait; only warn if nodes may join."""
    for sweep in {work.sweep.name: work.sweep for work in plan.work}.values():
        asks = sweep.resources
        has = _closest_node(asks)
        too_much = []
        for name, amount in has.items():
            if getattr(asks, name) > amount:
                too_much.append(f"--set resources.{name}={amount:g}")
        if not too_much:
            continue
        lack = (
            f"sweep {sweep.name} asks {asks.cpu:g} CPU and {asks.gpu:g} GPU of one node, "
            f"the largest has {has['cpu']:g} CPU and {has['gpu']:g} GPU"
        )
        require(growing, f"{lack}; {' '.join(too_much)}")
        print(f"warning: {lack}; it waits until a larger one joins", file=sys.stderr)


def _closest_node(asks: Resources) -> dict[str, float]:
    """Return `cpu` and `gpu` of the node that comes closest to what is asked."""
    found = []
    for node in ray.nodes():
        if node["Alive"]:
            has = node["Resources"]
            found.append({"cpu": has.get("CPU", 0), "gpu": has.get("GPU", 0)})
    return max(found, key=lambda node: (min(node["gpu"], asks.gpu), node["cpu"]))
