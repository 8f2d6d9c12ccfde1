"""Sweeps as jobs of a Ray cluster: submit, status, logs, stop, through its Jobs API."""

import argparse
import os
import shlex
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests
from ray.exceptions import AuthenticationError
from ray.job_submission import JobSubmissionClient

from cluster.ray_session import code
from unlearn.errors import BadInput

DEFAULT_ADDRESS = "http://127.0.0.1:8265"


@contextmanager
def client(address: str | None) -> Iterator[JobSubmissionClient]:
    """The Jobs API at `address`, else $RAY_API_SERVER_ADDRESS, else this machine's; every failure is one clear line."""
    where = address or os.environ.get("RAY_API_SERVER_ADDRESS") or DEFAULT_ADDRESS
    try:
        yield JobSubmissionClient(where)
    except (ConnectionError, requests.RequestException) as error:
        raise BadInput(
            f"no Jobs API answers at {where} ({type(error).__name__}); is the head up, the address right?"
        ) from error
    except AuthenticationError as error:
        raise BadInput(
            f"the cluster at {where} refused the token: {error.message.splitlines()[0]}; give the head's token in "
            "$RAY_AUTH_TOKEN or the file $RAY_AUTH_TOKEN_PATH, and RAY_AUTH_MODE=token"
        ) from error
    except RuntimeError as error:
        lines = [line for line in str(error).splitlines() if line.strip()]
        raise BadInput(
            f"the cluster at {where} refused: {lines[-1] if lines else error}"
        ) from error


def submit(address: str | None, documents: str, arguments: list[str]) -> str:
    """Run `documents` (the text of a spec, changes applied) as a job with our own code; returns the job's id."""
    with client(address) as jobs, tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "spec.yaml").write_text(documents, encoding="utf-8")
        command = shlex.join(["python", "-m", "cluster", "run", "spec.yaml", *arguments])
        environment = {"py_modules": code(), "working_dir": folder, "excludes": ["__pycache__"]}
        return _submitted(jobs, command, environment)


def _submitted(jobs: JobSubmissionClient, command: str, environment: dict[str, Any]) -> str:
    """A head that has just started has no agent yet to take a job: try again for half a minute."""
    deadline = time.monotonic() + 30
    while True:
        try:
            return jobs.submit_job(entrypoint=command, runtime_env=environment)
        except RuntimeError as error:
            if "No available agent" not in str(error) or time.monotonic() > deadline:
                raise
        time.sleep(1)


def status(args: argparse.Namespace) -> int:
    """PENDING, RUNNING, SUCCEEDED, FAILED or STOPPED, and the job's last message."""
    with client(args.address) as jobs:
        info = jobs.get_job_info(args.job)
    print(f"{info.status}{': ' + ' '.join(info.message.split()) if info.message else ''}")
    return 0


def logs(args: argparse.Namespace) -> int:
    with client(args.address) as jobs:
        print(jobs.get_job_logs(args.job))
    return 0


def stop(args: argparse.Namespace) -> int:
    with client(args.address) as jobs:
        print("stopping" if jobs.stop_job(args.job) else "was not running")
    return 0
