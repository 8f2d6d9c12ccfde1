"""Sweeps as jobs of a Ray cluster, through its Jobs API: submit, status, logs, stop."""

import argparse
import os
import re
import shlex
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
from ray.exceptions import AuthenticationError
from ray.job_submission import JobSubmissionClient

from cluster.ray_session import package_folders
from unlearn.errors import BadInput, require

DEFAULT_ADDRESS = "http://127.0.0.1:8265"
ADDRESS_VARIABLE = "RAY_API_SERVER_ADDRESS"
AGENT_S = 30.0  # a new head takes no jobs until its agent runs; wait that long


@contextmanager
def client(address: str | None) -> Iterator[JobSubmissionClient]:
    """Connect to the Jobs API at `address`, else $RAY_API_SERVER_ADDRESS, else this machine's.

    Raises `BadInput` for every failure inside the block.
    """
    where = address or os.environ.get(ADDRESS_VARIABLE) or DEFAULT_ADDRESS
    check_address(where)
    try:
        yield _connect(where)
    except (ConnectionError, requests.RequestException) as error:
        raise BadInput(
            f"no Jobs API answers at {where} ({type(error).__name__}); check that the head runs "
            "and that the address is right"
        ) from error
    except AuthenticationError as error:
        reason = error.message.splitlines()[0]
        raise BadInput(
            f"the cluster at {where} refused the token: {reason}; give the head's token in "
            "$RAY_AUTH_TOKEN or the file $RAY_AUTH_TOKEN_PATH, and set RAY_AUTH_MODE=token"
        ) from error
    except RuntimeError as error:
        lines = [line for line in str(error).splitlines() if line.strip()]
        reason = lines[-1] if lines else str(error)
        raise BadInput(f"the cluster at {where} refused: {reason}") from error


def check_address(address: str) -> None:
    """Refuse an address that is not a dashboard's URL: Ray would try it for most of a minute."""
    url = urlsplit(address)
    example = f"http://{address}" if re.fullmatch(r"[\w.-]+:\d+", address) else DEFAULT_ADDRESS
    require(
        url.scheme in ("http", "https") and bool(url.hostname),
        f"the Jobs API is reached at the dashboard's URL, not at {address!r}; "
        f"give an address like {example}",
    )


def _connect(where: str) -> JobSubmissionClient:
    """Return a client of the Jobs API at `where` and nowhere else.

    Ray's client replaces its argument by $RAY_API_SERVER_ADDRESS, then by $RAY_ADDRESS.
    """
    before = os.environ.get(ADDRESS_VARIABLE)
    os.environ[ADDRESS_VARIABLE] = where
    try:
        return JobSubmissionClient(where)
    finally:
        del os.environ[ADDRESS_VARIABLE]
        if before is not None:
            os.environ[ADDRESS_VARIABLE] = before


def submit(address: str | None, documents: str, arguments: list[str]) -> str:
    """Run a sweep as a job that carries our own code; return the job's id.

    address: of the Jobs API; None for the default (see `client`)
    documents: text of the spec, its changes applied
    arguments: further arguments of `amnesia run`
    """
    with client(address) as jobs, tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "spec.yaml").write_text(documents, encoding="utf-8")
        command = shlex.join(["python", "-m", "cluster", "run", "spec.yaml", *arguments])
        runtime_env = {
            "py_modules": package_folders(),
            "working_dir": folder,
            "excludes": ["__pycache__"],
        }
        return _submit(jobs, command, runtime_env)


def _submit(jobs: JobSubmissionClient, command: str, runtime_env: dict[str, Any]) -> str:
    """Submit the job; try again for `AGENT_S` seconds while the head has no agent."""
    deadline = time.monotonic() + AGENT_S
    while True:
        try:
            return jobs.submit_job(entrypoint=command, runtime_env=runtime_env)
        except RuntimeError as error:
            if "No available agent" not in str(error) or time.monotonic() > deadline:
                raise
        time.sleep(1)


def status(args: argparse.Namespace) -> int:
    """Print PENDING, RUNNING, SUCCEEDED, FAILED or STOPPED, and the job's last message."""
    with client(args.address) as jobs:
        info = jobs.get_job_info(args.job)
    message = " ".join((info.message or "").split())
    print(f"{info.status}: {message}" if message else info.status)
    return 0


def logs(args: argparse.Namespace) -> int:
    """Print what the job has printed so far."""
    with client(args.address) as jobs:
        print(jobs.get_job_logs(args.job))
    return 0


def stop(args: argparse.Namespace) -> int:
    """Stop the job, if it runs."""
    with client(args.address) as jobs:
        print("stopping" if jobs.stop_job(args.job) else "was not running")
    return 0
