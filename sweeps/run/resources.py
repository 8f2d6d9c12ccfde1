"""Compare what trials ask for with the cluster: how many fit at once, whether a node has enough."""

import sys
from collections.abc import Iterable
from dataclasses import dataclass, replace

import ray

from sweeps.plan.plan import Plan, needed_by
from sweeps.plan.work import Work
from sweeps.spec.sections import Resources
from sweeps.spec.sweep import Sweep
from unlearn.errors import require


@dataclass(frozen=True)
class Node:
    """What a machine has for Ray, in use or not."""

    cpu: float
    gpu: float

    def fits(self, needs: Resources) -> int:
        """Return how many trials with these resources it runs at once."""
        fit = self.cpu / needs.cpu
        if needs.gpu:
            fit = min(fit, self.gpu / needs.gpu)
        return int(fit + 1e-9)  # ten times 0.1 GPU are one, in floats too


def ray_nodes() -> list[Node]:
    """Return the live nodes of the Ray that this process has joined."""
    found = []
    for node in ray.nodes():
        if node["Alive"]:
            has = node["Resources"]
            found.append(Node(has.get("CPU", 0), has.get("GPU", 0)))
    return found


def slots(needs: Resources) -> int:
    """Return how many trials with these resources this Ray can run at once, at least 1.

    Counts all resources of all nodes, also those in use.
    """
    return max(1, sum(node.fits(needs) for node in ray_nodes()))


def without_gpus(plan: Plan) -> Plan:
    """Return the plan for a Ray that has no GPU: sweeps that leave the share open take none."""

    def settled(sweep: Sweep) -> Sweep:
        return replace(sweep, resources=sweep.resources.where(gpus=False))

    def moved(work: Work) -> Work:
        return replace(work, sweep=settled(work.sweep))  # type: ignore[type-var]

    sweeps = tuple(settled(sweep) for sweep in plan.sweeps)
    return replace(plan, sweeps=sweeps, work=tuple(moved(work) for work in plan.work))


def resources_by_artifact(plan: Plan) -> dict[str, Resources]:
    """Return artifact key -> resources of the first sweep that needs the artifact."""
    asked: dict[str, Resources] = {}
    for work in plan.work:
        for recipe in needed_by(work.sweep, work.problem):
            asked.setdefault(recipe.key, work.sweep.resources)
    return asked


def check_resources(plan: Plan, joined: bool) -> None:
    """Refuse resources that no node has, for which Ray would wait; in a joined Ray only warn."""
    nodes = ray_nodes()
    for sweep in sweeps_to_run(plan):
        lack = lacking(sweep, nodes)
        if lack is None:
            continue
        require(joined, f"{lack.reason}; {lack.remedy}")
        print(f"warning: {lack.reason}; it waits until a larger one joins", file=sys.stderr)


def sweeps_to_run(plan: Plan) -> Iterable[Sweep]:
    """Return the sweeps that have cells left."""
    return {work.sweep.name: work.sweep for work in plan.work}.values()


@dataclass(frozen=True)
class Lack:
    """Why no node can hold a trial of a sweep, and the changes with which one could."""

    reason: str
    remedy: str


def lacking(sweep: Sweep, nodes: list[Node]) -> Lack | None:
    """Compare a sweep's resources with the nodes; None if one has enough."""
    asks = sweep.resources.where(gpus=any(node.gpu for node in nodes))
    has = max(nodes, key=lambda node: (min(node.gpu, asks.gpu), node.cpu))
    remedies = []
    for name, amount in (("cpu", has.cpu), ("gpu", has.gpu)):
        if getattr(asks, name) > amount:
            remedies.append(f"--set resources.{name}={amount:g}")
    if not remedies:
        return None
    return Lack(
        f"sweep {sweep.name} asks {asks.cpu:g} CPU and {asks.gpu:g} GPU of one node, "
        f"the largest has {has.cpu:g} CPU and {has.gpu:g} GPU",
        " ".join(remedies),
    )
