"""Compare a plan with the nodes that would run it, without joining them."""

import os

import torch

from cluster import ray_private
from cluster.address import address_to_join
from cluster.ray_session import check_reachable
from sweeps.plan.plan import Plan
from sweeps.run.resources import Node, lacking, sweeps_to_run
from unlearn.errors import BadInput

ASK_S = 10  # seconds that the head has to answer


def describe_resources(plan: Plan, address: str | None) -> str:
    """Say for each sweep how many trials run at once, or that no node can hold one.

    address: of the Ray that would run the plan; None for $RAY_ADDRESS, else this machine, where
    `amnesia run` would start one

    Raises `BadInput` if no Ray answers at the address.
    """
    address = address_to_join(address)
    own = address is None
    nodes = [this_machine()] if address is None else nodes_of(address)
    where = "this machine" if own else f"Ray at {address} ({len(nodes)} nodes)"
    lines = []
    for sweep in sweeps_to_run(plan):
        lack = lacking(sweep, nodes)
        if lack is None:
            asks = sweep.resources.where(gpus=any(node.gpu for node in nodes))
            at_once = sum(node.fits(asks) for node in nodes)
            lines.append(f"resources: {sweep.name} runs {at_once} trials at once on {where}")
        else:
            then = "`run` refuses it" if own else "`run` waits until a larger one joins"
            lines.append(f"resources: {where}: {lack.reason}; {then}; {lack.remedy}")
    return "\n".join(lines)


def this_machine() -> Node:
    """Return what a Ray that starts here would have.

    In a container Ray counts the CPUs of the control group; it has no public function for that.
    """
    count = ray_private.find("utils.get_num_cpus")
    if count is None:
        ray_private.say_missing("utils.get_num_cpus", "a container's limit of CPUs is not seen")
        cpus = os.cpu_count() or 1
    else:
        cpus = count(override_docker_cpu_warning=True)
    return Node(cpus, torch.cuda.device_count())


def nodes_of(address: str) -> list[Node]:
    """Return the live nodes of a cluster, as its head's state API lists them."""
    import requests  # none of these is needed for a plan for this machine
    from ray.exceptions import AuthenticationError
    from ray.util.state import list_nodes
    from ray.util.state.exception import RayStateApiException

    check_reachable(address)
    try:
        found = list_nodes(address=address, filters=[("state", "=", "ALIVE")], timeout=ASK_S)
    except AuthenticationError as error:
        raise BadInput(
            f"Ray at {address} refuses the token: {error.message.splitlines()[0]}; set "
            "RAY_AUTH_MODE=token and give the head's token in $RAY_AUTH_TOKEN"
        ) from error
    except (RayStateApiException, requests.RequestException, ConnectionError, ValueError) as error:
        raise BadInput(
            f"no Ray at {address} tells its nodes ({type(error).__name__}); "
            "give the head's HOST:6379, or leave --address out"
        ) from error
    totals = [node.resources_total or {} for node in found]
    return [Node(has.get("CPU", 0), has.get("GPU", 0)) for has in totals]
