"""Start and stop the service on the Ray cluster that this process is connected to."""

import logging
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import serve.lean  # noqa: F401  # before `ray.serve`  # isort: skip
import ray
import ray.serve
from ray.exceptions import RayError
from ray.serve.schema import ApplicationStatus, ProxyStatus, ServeStatus

from serve.deployments import APPLICATION, CONTROLLER, application
from serve.exposure import check, check_guard, stop_guarding
from serve.settings import ServiceSettings
from unlearn.errors import BadInput, require

START_S = 180.0
POLL_S = 0.2
MORE_TIME = (
    "let other work on the head node end, or raise RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S, and "
    "start again"
)


@dataclass(frozen=True)
class Server:
    """The running service, a context manager that stops it.

    url: where clients find it.
    cleanup: what stopping it does.
    """

    url: str
    cleanup: ExitStack

    def stop(self) -> None:
        """Stop the service; a second call does nothing."""
        self.cleanup.close()

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()


def start(settings: ServiceSettings, timeout_s: float = START_S) -> Server:
    """Serve a gallery, and return once every replica runs. One cluster runs one service.

    Ray must be connected: `cluster.ray_session` does that. An attempt that Ray Serve breaks off is
    repeated once.

    timeout_s: seconds that replicas have to start.

    Raises `BadInput` for an address beyond loopback without a token, a gallery that does not exist,
    no Ray, a port in use, a cluster that already serves, replicas that do not start within
    `timeout_s`, and a second attempt that Ray Serve breaks off.
    """
    check(settings)
    require(ray.is_initialized(), "the service runs on Ray; connect to one by ray.init first")
    _check_cluster(settings)

    def attempt() -> None:
        _deploy(settings)
        _wait(settings, timeout_s)

    with ExitStack() as cleanup:
        cleanup.callback(ray.serve.shutdown)
        cleanup.callback(stop_guarding)  # first
        try_twice(attempt)
        check_guard()
        return Server(_url(settings), cleanup.pop_all())


def try_twice(attempt: Callable[[], None]) -> None:
    """Call `attempt`; call it once more if Ray loses an actor or gives up waiting for one.

    On a busy machine Ray Serve kills its own HTTP proxy if that starts too slowly. The controller
    survives, starts a new proxy and gives it more time; the second call goes on from there.

    Raises `BadInput` if the second call fails in the same way.
    """
    failures = (RayError, TimeoutError)
    try:
        attempt()
    except failures:
        try:
            attempt()
        except failures as error:
            reason = " ".join(str(error).split())[:200]
            raise BadInput(
                "Ray Serve must start within two attempts, but the second one failed with "
                f"{type(error).__name__}: {reason}; {MORE_TIME}"
            ) from error


def _head_node() -> dict[str, Any]:
    """Return Ray's description of the head node, where the proxy listens."""
    nodes: list[dict[str, Any]] = ray.nodes()
    for node in nodes:
        if "node:__internal_head__" in node["Resources"]:
            return node
    raise BadInput("the cluster has no head node that is alive; start one")


def _check_cluster(settings: ServiceSettings) -> None:
    """Refuse a port in use and a cluster that already serves."""
    here = ray.get_runtime_context().get_node_id()
    if here == _head_node()["NodeID"]:
        _check_port(settings.host, settings.port)
    require(
        not ray.serve.status().proxies,
        "Ray Serve already runs on this cluster; stop it (`serve shutdown`) first",
    )


def _check_port(host: str, port: int) -> None:
    """Refuse a port in use.

    Ray's proxy would share the port without a word (SO_REUSEPORT), so it is tried beforehand.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise BadInput(
                f"cannot listen on {host}:{port} ({error.strerror}); choose another port or host"
            ) from error


def _deploy(settings: ServiceSettings) -> None:
    """Start Ray Serve, unless a former attempt did, and hand it the application.

    `ray.serve.start` returns when its proxies are ready. The replicas need not wait for that: they
    import torch meanwhile, which takes as long.
    """
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    target = ray.serve.RunTarget(application(settings), name=APPLICATION, route_prefix="/")
    starting = _start_serve({"host": settings.host, "port": settings.port})
    _await_controller(starting)
    ray.serve.run_many([target], wait_for_applications_running=False)
    starting.result()


def _start_serve(http_options: dict[str, Any]) -> "Future[None]":
    """Start Ray Serve in a thread that Ctrl-C does not wait for."""
    starting: Future[None] = Future()

    def start_serve() -> None:
        try:
            ray.serve.start(proxy_location="HeadOnly", http_options=http_options)
        except Exception as error:
            starting.set_exception(error)
        else:
            starting.set_result(None)

    threading.Thread(target=start_serve, daemon=True).start()
    return starting


def _await_controller(starting: "Future[None]") -> None:
    """Wait until Ray Serve has a controller, or has failed to start. Raises why it failed."""
    while not starting.done():
        try:
            ray.get_actor(CONTROLLER, namespace="serve")
        except ValueError:  # there is none yet
            time.sleep(POLL_S)
        else:
            return
    starting.result()


def _wait(settings: ServiceSettings, timeout_s: float) -> None:
    """Wait until the application runs and its proxies are healthy. Raises `BadInput`."""
    deadline = time.monotonic() + timeout_s
    state = None
    while time.monotonic() < deadline:
        status = ray.serve.status()
        app = status.applications.get(APPLICATION)  # None while the controller restarts
        state = None if app is None else app.status
        if app is not None and state == ApplicationStatus.DEPLOY_FAILED:
            raise BadInput(f"the service did not start: {' '.join(app.message.split())[-400:]}")
        if state == ApplicationStatus.RUNNING and _proxies_are_healthy(status):
            return
        time.sleep(POLL_S)
    proxy_is_late = state == ApplicationStatus.RUNNING
    why = f"no HTTP proxy is ready; {MORE_TIME}" if proxy_is_late else _shortage(settings)
    raise BadInput(f"the service did not start within {timeout_s:.0f} s: {why}")


def _proxies_are_healthy(status: ServeStatus) -> bool:
    states = status.proxies.values()
    return bool(states) and all(state == ProxyStatus.HEALTHY for state in states)


def _shortage(settings: ServiceSettings) -> str:
    """Compare what the replicas ask for with what the cluster has."""
    total = ray.cluster_resources()
    front_cpus = settings.front_cpus if settings.pooled else 0
    cpus = settings.least * (settings.cpus + front_cpus)
    gpus = settings.least * settings.gpus
    asked = f"{cpus:g} CPUs and {gpus:g} GPUs"
    there = f"{total.get('CPU', 0):g} and {total.get('GPU', 0):g}"
    return (
        f"it asks for {asked} of the cluster's {there}; ask for less, or wait for other work to end"
    )


def _url(settings: ServiceSettings) -> str:
    """Return the address for clients; the head node's if the service listens on all interfaces."""
    host = settings.host
    if host in ("0.0.0.0", "::"):
        host = _head_node()["NodeManagerAddress"]
    return f"http://[{host}]:{settings.port}" if ":" in host else f"http://{host}:{settings.port}"
