"""Connect to Ray: join a cluster, or start a local Ray and stop it afterwards."""

import logging
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray

import serve
import sweeps
import unlearn
from cluster.own import PACKAGES, importer
from unlearn.errors import BadInput, require
from unlearn.namesakes import namesakes

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


# Ray appends up to 68 bytes to its temporary folder, as in
# /ray/session_2026-01-31_23-59-59_123456_4194304/sockets/plasma_store; a socket's path has 107.
LONGEST_FOLDER = 39
SHORT_FOLDER = "/tmp"


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
    code: dict[str, Any] = {"py_modules": package_folders(), "excludes": ["__pycache__"]}
    if not address.startswith("ray://"):  # a client's working folder is not searched by workers
        code |= _own_first([])
    try:
        _init(address=address, runtime_env=None if inside_job else code)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise _no_ray(address, error) from error


def _start_local() -> None:
    """Start a Ray of our own. On a busy machine its node can be late; then try once more."""
    _shorten_temporary_folder()
    options: dict[str, Any] = {"address": "local", "include_dashboard": False}
    code = _own_first([str(Path(__file__).parents[1])])
    if code:
        options["runtime_env"] = code
    try:
        _init(**options)
    except Exception:  # Ray raises a plain `Exception` for a node that is late
        ray.shutdown()
        try:
            _init(**options)
        except Exception as error:
            raise _no_ray(None, error) from error


def _own_first(folders: list[str]) -> dict[str, Any]:
    """Return the runtime environment whose workers import our packages before all others.

    Ray puts the driver's working folder in front of a worker's search path. Returns {} where no
    other module has the name of one of ours: workers then start faster.

    folders: where our packages lie; none for where Ray puts the code that it is sent
    """
    if not any(namesakes(name) for name in PACKAGES):
        return {}
    return {"worker_process_setup_hook": importer(folders)}


def _shorten_temporary_folder() -> None:
    """Have Ray put its sockets into a short folder: their paths may have 107 bytes, no more.

    Ray takes $RAY_TMPDIR, else $TMPDIR, which is long on many HPC systems. Raises `BadInput` for a
    RAY_TMPDIR that is too long itself, and where there is no short folder.
    """
    asked = os.environ.get("RAY_TMPDIR")
    require(
        len(os.fsencode(asked or "")) <= LONGEST_FOLDER,
        f"RAY_TMPDIR {asked!r} is too long for Ray's sockets; "
        f"give a folder of at most {LONGEST_FOLDER} bytes",
    )
    if asked is not None or len(os.fsencode(os.environ.get("TMPDIR", ""))) <= LONGEST_FOLDER:
        return
    short = Path(SHORT_FOLDER) / f"amnesia-{os.getuid()}"
    try:
        short.mkdir(mode=0o700, exist_ok=True)
        usable = short.stat().st_uid == os.getuid() and os.access(short, os.W_OK)
    except OSError:
        usable = False
    require(
        usable,
        f"TMPDIR is too long for Ray's sockets and {short} is not ours to write; "
        f"set RAY_TMPDIR to a folder of at most {LONGEST_FOLDER} bytes",
    )
    os.environ["RAY_TMPDIR"] = str(short)
    print(
        f"TMPDIR is too long for Ray's sockets; Ray writes to {short} (RAY_TMPDIR changes it)",
        file=sys.stderr,
    )


def _init(**options: Any) -> None:
    ray.init(log_to_driver=False, logging_level=logging.ERROR, **options)


def _no_ray(address: str | None, error: Exception) -> BadInput:
    """Say in one line that no Ray runs at `address`, or that a local one does not start."""
    lines = str(error).strip().splitlines()
    reason = lines[0] if lines else type(error).__name__
    if address is None:
        return BadInput(
            f"no Ray starts on this machine: {reason}; let other work end, or join one by --address"
        )
    return BadInput(f"no Ray at {address} ({reason}); start one, or leave --address out")
