"""Connect to Ray: join a cluster, or start a local Ray and stop it afterwards."""

import logging
import os
import re
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray

import serve
import sweeps
import unlearn
from cluster import ray_private
from cluster.address import address_to_join
from cluster.own import PACKAGES, importer
from cluster.token_file import keep_token_private
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
# Ray starts a worker per core at once. Those that wait can import meanwhile what they will need;
# where cores are few, that would take them from the work itself.
PRELOAD = "RAY_preload_python_modules"
MODULES = ("sweeps.run.prepare", "sweeps.run.trial")
LIBRARIES = ("torchvision", "timm")  # where planning has imported one, workers will too
CORES_TO_PRELOAD = range(8, 33)  # and where they are many, too much memory

# What a local head starts beside GCS and raylet: the autoscaler, the forwarder of workers' logs,
# and the reporter of usage statistics. Neither sweeps nor the service uses them; each takes 50 to
# 75 MB and a second of CPU, and two of them listen on all interfaces. Ray has no option to leave
# them out.
HELPERS = ("start_monitor", "start_log_monitor", "start_api_server")
WITH_HELPERS = (
    "Ray starts with processes that amnesia has no use for; some may listen on all interfaces, "
    "so close the machine's other ports to strangers"
)

MORE_TIME = "let other work end, or join a running Ray by --address"
# What Ray says when it does not start -> what to do. The first that matches counts; a start that
# `MORE_TIME` may help is tried twice.
REMEDIES = {
    r"address already in use|port .*in use|in use by other|failed to bind": (
        "end what holds that port (another Ray? `ray stop`), or join it by --address"
    ),
    r"permission denied|PermissionError": "set RAY_TMPDIR to a folder of your own",
    r"no space left|disk quota": "free space there, or set RAY_TMPDIR to a folder with more",
    r"timed? ?out|within \d+ ?(s|ms)|took too long|overloaded|not found in NodeInfo": MORE_TIME,
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
    address = address_to_join(address)
    host, colon, port = (address or "").removeprefix("ray://").rpartition(":")
    if colon and port.isdigit():
        try:
            socket.create_connection((host, int(port)), timeout=5).close()
        except OSError as error:
            raise _no_ray(address, error) from error


@contextmanager
def ray_session(
    address: str | None, service: bool = False, libraries: Collection[str] = ()
) -> Iterator[str | None]:
    """Join the Ray at `address` (or $RAY_ADDRESS), else start a local one; disconnect at the end.

    service: whether the local Ray runs the service, not a sweep
    libraries: those of `LIBRARIES` whose networks the sweep builds

    Yields the address that was joined, None for a local Ray. Raises `BadInput` if no Ray answers,
    or if the local one fails to start twice.
    """
    address = address_to_join(address)
    # Ray keeps CUDA_VISIBLE_DEVICES in tasks without a GPU; without this setting it also warns.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    if address is None:
        for name, value in LOCAL_RAY.items():
            os.environ.setdefault(name, value)
        with _preloading(service, libraries), _without_helpers():
            _start_local()
    else:
        _join(address)
    try:
        yield address
    finally:
        ray.shutdown()


@contextmanager
def _without_helpers() -> Iterator[None]:
    """Have a head that starts in the block start none of `HELPERS`; where it can."""
    kind = ray_private.find("node.Node")
    before = {name: getattr(kind, name) for name in HELPERS if hasattr(kind, name)}
    missing = [name for name in HELPERS if name not in before]
    if missing:
        ray_private.say_missing(f"node.Node.{missing[0]}", WITH_HELPERS)
    try:
        for name in before:
            setattr(kind, name, lambda *args, **options: None)
        yield
    finally:
        for name, method in before.items():
            setattr(kind, name, method)


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
    """Start a Ray of our own; once more if the first start failed for lack of time."""
    _shorten_temporary_folder()
    options: dict[str, Any] = {"address": "local", "include_dashboard": False}
    code = _own_first([str(Path(__file__).parents[1])])
    if code:
        options["runtime_env"] = code
    try:
        _init(**options)
    except Exception as error:  # Ray raises a plain `Exception` for a node that is late
        ray.shutdown()
        if remedy_of(error) != MORE_TIME:
            raise _no_ray(None, error) from error
        try:
            _init(**options)
        except Exception as again:
            ray.shutdown()
            raise _no_ray(None, again) from again


def _own_first(folders: list[str]) -> dict[str, Any]:
    """Return the runtime environment whose workers import our packages before all others.

    Ray puts the driver's working folder in front of a worker's search path. Returns {} where no
    other module has the name of one of ours: workers then start faster.

    folders: where our packages lie; none for where Ray puts the code that it is sent
    """
    if not _shadowed():
        return {}
    return {"worker_process_setup_hook": importer(folders)}


@contextmanager
def _preloading(service: bool, libraries: Collection[str]) -> Iterator[None]:
    """Have the waiting workers of a Ray that starts in the block import what they will need.

    Where another module has the name of one of ours, they would import that one, so they import
    none, whatever the environment says.
    """
    before = os.environ.get(PRELOAD)
    if _shadowed():
        os.environ.pop(PRELOAD, None)
    elif modules := _modules(service, libraries):
        os.environ.setdefault(PRELOAD, ",".join(modules))
    try:
        yield
    finally:
        os.environ.pop(PRELOAD, None)
        if before is not None:
            os.environ[PRELOAD] = before


def _modules(service: bool, libraries: Collection[str]) -> list[str]:
    """Return the modules for waiting workers; none where they would take cores from the work."""
    if service:
        return ["serve.lean"]  # Ray Serve, without pandas
    if os.cpu_count() not in CORES_TO_PRELOAD:
        return []
    return [*MODULES, *(name for name in LIBRARIES if name in libraries or name in sys.modules)]


def _shadowed() -> bool:
    """Return whether another module has the name of one of our packages."""
    return any(namesakes(name) for name in PACKAGES)


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
    """Call `ray.init`, and keep this process's handler of SIGTERM, which Ray replaces."""
    handler = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(log_to_driver=False, logging_level=logging.ERROR, **options)
    except SystemExit as end:  # Ray's own handler, while it starts
        if end.code == signal.SIGTERM and callable(handler):
            handler(signal.SIGTERM, None)
        raise
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)
    keep_token_private(Path.home())
    # Else Ray prints what its processes report to every driver, such as the last lines of a dead
    # node's log, beside the one line of ours. Ray has no public setting for this.
    if ray_private.find("worker._worker_logs_enabled") is None:
        ray_private.say_missing("worker._worker_logs_enabled", "its processes may print here")
    else:
        ray._private.worker._worker_logs_enabled = False


def remedy_of(error: Exception) -> str:
    """Return what to do about a local Ray that does not start."""
    text = f"{type(error).__name__} {error}"
    for pattern, remedy in REMEDIES.items():
        if re.search(pattern, text, re.IGNORECASE):
            return remedy
    return f"Ray's logs in {ray_folder()} tell more; or join a running Ray by --address"


def ray_folder() -> str:
    """Return the folder of the newest local Ray's logs."""
    root = os.environ.get("RAY_TMPDIR") or tempfile.gettempdir()
    return str(Path(root) / "ray" / "session_latest" / "logs")


def _no_ray(address: str | None, error: Exception) -> BadInput:
    """Say in one line that no Ray runs at `address`, or that a local one does not start."""
    lines = str(error).strip().splitlines()
    reason = lines[0] if lines else type(error).__name__
    if address is None:
        return BadInput(f"no Ray starts on this machine: {reason}; {remedy_of(error)}")
    return BadInput(f"no Ray at {address} ({reason}); start one, or leave --address out")
