"""Connect to Ray: join a cluster, or start a local Ray and stop it afterwards."""

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray

import serve
import sweeps
import unlearn
from cluster.token_file import keep_token_private
from unlearn.errors import BadInput

# The environment of a Ray that we start ourselves; its processes inherit it. A variable that the
# user has set wins.
LOCAL_RAY = {
    # Added to the driver's own priority by every worker. Ray's default, 15, starves them beside any
    # busy process: sweeps make no progress, and Ray Serve's proxy does not come up in time.
    "RAY_worker_niceness": "0",
    # Ray Serve's controller kills a proxy that is not ready after three such waits (default: 5 s).
    # `ray.serve.start` itself waits 60 s for the proxy.
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60",
    # A local head that is gone does not come back; by default Ray would wait a minute for it.
    "RAY_gcs_rpc_server_reconnect_timeout_s": "10",
}


def package_folders() -> list[str]:
    """Return the folders of our four packages: workers may lack them or have another version."""
    modules = (serve, sweeps, unlearn)
    others = [str(Path(str(module.__file__)).parent) for module in modules]
    return [str(Path(__file__).parent), *others]


def check_reachable(address: str | None) -> None:
    """Refuse an address at which nothing listens. Ray itself would try for minutes."""
    address = address or os.environ.get("RAY_ADDRESS")
    host, colon, port = (address or "").removeprefix("ray://").rpartition(":")
    if colon and port.isdigit():
        try:
            socket.create_connection((host, int(port)), timeout=5).close()
        except OSError as error:
            raise _no_ray(address, error) from error


@contextmanager
def ray_session(address: str | None) -> Iterator[str | None]:
    """Join the Ray at `address` (or $RAY_ADDRESS), else start a local one; disconnect at the end.

    Yields the address that was joined, None for a local Ray. Raises `BadInput` if no Ray answers,
    or if the local one fails to start twice.
    """
    address = address or os.environ.get("RAY_ADDRESS") or None
    # Ray keeps CUDA_VISIBLE_DEVICES in tasks without a GPU; without this setting it also warns.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    if address in (None, "local"):
        for name, value in LOCAL_RAY.items():
            os.environ.setdefault(name, value)
    if address is None:
        _start_local()
    else:
        _join(address)
    try:
        yield address
    finally:
        ray.shutdown()


def _join(address: str) -> None:
    """Connect to a running Ray, and send it our packages unless this is one of its own jobs."""
    inside_job = "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ
    code = {"py_modules": package_folders(), "excludes": ["__pycache__"]}
    try:
        _init(address=address, runtime_env=None if inside_job else code)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise _no_ray(address, error) from error


def _start_local() -> None:
    """Start a Ray of our own. On a busy machine its node can be late; then try once more."""
    try:
        _init(address="local", include_dashboard=False)
    except Exception:  # Ray raises a plain `Exception` for a node that is late
        ray.shutdown()
        try:
            _init(address="local", include_dashboard=False)
        except Exception as error:
            raise _no_ray(None, error) from error


def _init(**options: Any) -> None:
    ray.init(log_to_driver=False, logging_level=logging.ERROR, **options)
    keep_token_private(Path.home())


def _no_ray(address: str | None, error: Exception) -> BadInput:
    """Say in one line that no Ray runs at `address`, or that a local one does not start."""
    lines = str(error).strip().splitlines()
    reason = lines[0] if lines else type(error).__name__
    if address is None:
        return BadInput(
            f"no Ray starts on this machine: {reason}; let other work end, or join one by --address"
        )
    return BadInput(f"no Ray at {address} ({reason}); start one, or leave --address out")
