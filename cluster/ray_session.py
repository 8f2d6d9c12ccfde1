"""A Ray to work on: the one at the given address, or a local one of our own, stopped when we are done."""

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import ray

import serve
import sweeps
import unlearn
from unlearn.errors import BadInput

PACKAGES = ("cluster", "serve", "sweeps", "unlearn")


def code() -> list[str]:
    """Folders of our four packages, for workers that do not have them installed, or not this version."""
    here = Path(__file__).parent
    return [
        str(here),
        *(str(Path(str(module.__file__)).parent) for module in (serve, sweeps, unlearn)),
    ]


def check_reachable(address: str | None) -> None:
    """Ray itself tries a dead address for minutes; a TCP connection tells at once."""
    address = address or os.environ.get("RAY_ADDRESS")
    host, colon, port = (address or "").removeprefix("ray://").rpartition(":")
    if colon and port.isdigit():
        try:
            socket.create_connection((host, int(port)), timeout=5).close()
        except OSError as error:
            raise BadInput(
                f"no Ray at {address} ({error}); start one, or leave --address away"
            ) from error


@contextmanager
def ray_session(address: str | None) -> Iterator[str | None]:
    """Join the Ray at `address` (or $RAY_ADDRESS), else start a local one; yields the address that was joined."""
    address = address or os.environ.get("RAY_ADDRESS") or None
    inside_job = "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ
    runtime_env = (
        {"py_modules": code(), "excludes": ["__pycache__"]} if address and not inside_job else None
    )
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    if (
        not address
    ):  # our own head on this machine: if it is gone it does not come back; Ray would wait a minute
        os.environ.setdefault("RAY_gcs_rpc_server_reconnect_timeout_s", "10")
    try:
        ray.init(
            address=address or "local",
            runtime_env=runtime_env,
            log_to_driver=False,
            logging_level=logging.ERROR,
            include_dashboard=None if address else False,
        )
    except (ConnectionError, ValueError, RuntimeError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise BadInput(
            f"no Ray at {address or 'this machine'}: {first}; start one, or leave --address away"
        ) from error
    try:
        yield address
    finally:
        ray.shutdown()
