"""Starting and stopping the service on a Ray cluster, new or running."""

import logging
import socket
import time
from contextlib import ExitStack
from dataclasses import dataclass

import ray
import ray.serve
from ray.serve.schema import ApplicationStatus, ProxyStatus

from serve.deployments import APPLICATION, Settings, application
from serve.exposure import is_loopback
from unlearn.errors import BadInput, require
from unlearn.files import locate

START_S = 180.0


@dataclass(frozen=True)
class Server:
    """The running service. `stop()`, or leaving its `with` block, ends it, and Ray too where `start` started Ray."""

    url: str
    ending: ExitStack

    def stop(self) -> None:
        """Ends what `start` started; a second call does nothing."""
        self.ending.close()

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()


def start(settings: Settings, timeout_s: float = START_S) -> Server:
    """Serve a gallery and return once every replica runs: on the Ray that this process is connected to, else on a
    local one of its own. One cluster runs one service.

    Raises `BadInput` for an open door beyond loopback, a gallery that is not there, a port in use, a cluster that
    already serves, and replicas that do not start within `timeout_s`.
    """
    check(settings)
    with ExitStack() as ending:
        if not ray.is_initialized():
            ray.init(
                "local", include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR
            )
            ending.callback(ray.shutdown)
        _check_cluster(settings)
        ending.callback(ray.serve.shutdown)
        _deploy(settings)
        _wait(settings, timeout_s)
        return Server(_url(settings), ending.pop_all())


def check(settings: Settings) -> None:
    """Refuse, before any Ray starts, an open door beyond loopback and a gallery that is not there."""
    require(
        settings.token is not None or is_loopback(settings.host),
        f"host {settings.host} can be reached by others and no token is set; set AMNESIA_TOKEN or use 127.0.0.1",
    )
    fs, path = locate(settings.gallery)
    require(fs.isdir(path), f"no gallery at {settings.gallery}; promote a model into it first")


def _on_head() -> bool:
    """Whether this process runs on the head node, where the proxy will listen."""
    mine = ray.get_runtime_context().get_node_id()
    return any(
        "node:__internal_head__" in node["Resources"] and node["NodeID"] == mine
        for node in ray.nodes()
    )


def _check_port(settings: Settings) -> None:
    """Ray's proxy shares its port silently (SO_REUSEPORT), so the port is tried beforehand."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError as error:
            reason = f"cannot listen on {settings.host}:{settings.port} ({error.strerror}); choose another port or host"
            raise BadInput(reason) from error


def _check_cluster(settings: Settings) -> None:
    if _on_head():
        _check_port(settings)
    require(
        not ray.serve.status().proxies,
        "Ray Serve already runs on this cluster; stop it (`serve shutdown`) first",
    )


def _deploy(settings: Settings) -> None:
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    ray.serve.start(
        proxy_location="HeadOnly", http_options={"host": settings.host, "port": settings.port}
    )
    target = ray.serve.RunTarget(application(settings), name=APPLICATION, route_prefix="/")
    ray.serve.run_many([target], wait_for_applications_running=False)


def _wait(settings: Settings, timeout_s: float) -> None:
    """Until the application runs and its proxies are healthy."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        status = ray.serve.status()
        ours = status.applications[APPLICATION]
        if ours.status == ApplicationStatus.DEPLOY_FAILED:
            raise BadInput(f"the service did not start: {' '.join(ours.message.split())[-400:]}")
        healthy = bool(status.proxies) and all(
            proxy == ProxyStatus.HEALTHY for proxy in status.proxies.values()
        )
        if ours.status == ApplicationStatus.RUNNING and healthy:
            return
        time.sleep(0.2)
    raise BadInput(f"the service did not start within {timeout_s:.0f} s: {_shortage(settings)}")


def _shortage(settings: Settings) -> str:
    """What the replicas ask for beside what the cluster has."""
    has = ray.cluster_resources()
    cpus, gpus = (
        settings.replicas * (settings.cpus + settings.front_cpus),
        settings.replicas * settings.gpus,
    )
    asked, there = (
        f"{cpus:g} CPUs and {gpus:g} GPUs",
        f"{has.get('CPU', 0):g} and {has.get('GPU', 0):g}",
    )
    return (
        f"it asks for {asked} of the cluster's {there}; ask for less, or wait for other work to end"
    )


def _url(settings: Settings) -> str:
    """Where a client finds the service: the head node's address where every interface is listened on."""
    host = settings.host
    if host in ("0.0.0.0", "::"):
        host = next(
            node["NodeManagerAddress"]
            for node in ray.nodes()
            if "node:__internal_head__" in node["Resources"]
        )
    return f"http://[{host}]:{settings.port}" if ":" in host else f"http://{host}:{settings.port}"
