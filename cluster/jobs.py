"""Sweeps as jobs of a Ray cluster, through its Jobs API: submit, status, logs, stop."""

import argparse
import logging
import os
import re
import shlex
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
from ray.exceptions import AuthenticationError
from ray.job_submission import JobDetails, JobStatus, JobSubmissionClient

from cluster.job_progress import job_progress, metadata_of
from cluster.ray_session import package_folders
from sweeps.spec.documents import dump_documents
from unlearn.errors import BadInput, require

DEFAULT_ADDRESS = "http://127.0.0.1:8265"
ADDRESS_VARIABLE = "RAY_API_SERVER_ADDRESS"
AGENT_S = 30.0  # a new head takes no jobs until its agent runs; wait that long
FOLLOW_S = 2.0  # between two looks at a job
PATIENCE_S = 60.0  # how long the Jobs API may be out of reach while a job is followed
LARGEST_MB = 500  # of the folders that a job carries; Ray keeps them in the head's memory
# The loggers that name every package that is uploaded; `submit` lists them with their sizes.
UPLOADS = ("ray.dashboard.modules.dashboard_sdk", "ray._private.runtime_env.packaging")
SPEC = "spec.yaml"  # in the job's working directory


@contextmanager
def client(address: str | None) -> Iterator[JobSubmissionClient]:
    """Connect to the Jobs API at `address`, else $RAY_API_SERVER_ADDRESS, else this machine's.

    Raises `BadInput` for every failure inside the block.
    """
    where = address_of(address)
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


def address_of(address: str | None) -> str:
    """Return the address of the Jobs API: the given one, else $RAY_API_SERVER_ADDRESS, else ours.

    Raises `BadInput` for one that is no dashboard's URL.
    """
    where = address or os.environ.get(ADDRESS_VARIABLE) or DEFAULT_ADDRESS
    check_address(where)
    return where


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
        for name in UPLOADS:
            logging.getLogger(name).setLevel(logging.WARNING)
        del os.environ[ADDRESS_VARIABLE]
        if before is not None:
            os.environ[ADDRESS_VARIABLE] = before


@dataclass(frozen=True)
class Submission:
    """A sweep to run as a job.

    documents: of the spec, its changes applied
    arguments: further arguments of `amnesia run`
    name: the job's id; None for one of Ray's
    env: `KEY=VALUE` texts for the job's processes; `KEY` alone takes the value from here
    folders: whose contents the job finds in its working directory, from which Python imports
    results: folder or URL of the rows, from which `status` reads; "" if it reads the log alone
    """

    documents: list[dict[str, Any]]
    arguments: list[str]
    name: str | None = None
    env: tuple[str, ...] = ()
    folders: tuple[Path, ...] = ()
    results: str = ""

    def __post_init__(self) -> None:
        for folder in self.folders:
            require(folder.is_dir(), f"--with {folder}: no such folder")
        size = sum(size_of(folder) for folder in self.folders)
        require(
            size < LARGEST_MB * 10**6,
            f"--with ships {size / 10**6:.0f} MB, the cluster takes {LARGEST_MB}; "
            "put large files where every node reads them",
        )
        environment(self.env)

    def shipped(self) -> list[str]:
        """Return what the job carries, a line each, with its size."""
        parts = [*map(Path, package_folders()), *self.folders]
        sizes = {path.name: size_of(path) for path in parts}
        sizes[SPEC] = len(dump_documents(self.documents))
        return [f"{name}: {size / 1000:.1f} kB" for name, size in sizes.items()]

    def metadata(self) -> dict[str, str]:
        """Return what `status` reads from the job."""
        return metadata_of(self.results, [str(document["name"]) for document in self.documents])


def size_of(folder: Path) -> int:
    """Return the bytes of a folder's files, caches of Python left out."""
    files = [path for path in folder.rglob("*") if "__pycache__" not in path.parts]
    return sum(path.stat().st_size for path in files if path.is_file())


def environment(texts: tuple[str, ...]) -> dict[str, str]:
    """Return the variables of `KEY=VALUE` texts; the value of `KEY` alone is that of here."""
    variables = {}
    for text in texts:
        key, equals, value = text.partition("=")
        named = re.fullmatch(r"[A-Za-z_]\w*", key)
        require(bool(named), f"--env {text!r} must be KEY=VALUE, or KEY to pass on its value here")
        require(bool(equals) or key in os.environ, f"--env {key}: the variable is not set here")
        variables[key] = value if equals else os.environ[key]
    return variables


def submit(address: str | None, submission: Submission) -> str:
    """Run a sweep as a job that carries our own code; return the job's id.

    address: of the Jobs API; None for the default (see `client`)
    """
    with client(address) as jobs, tempfile.TemporaryDirectory() as folder:
        pack(submission, Path(folder))
        command = ["python", "-m", "cluster", "run", SPEC, *submission.arguments]
        runtime_env = {
            "py_modules": package_folders(),
            "working_dir": folder,
            "excludes": ["__pycache__"],
            "env_vars": environment(submission.env),
        }
        asked = {
            "entrypoint": shlex.join(command),
            "runtime_env": runtime_env,
            "submission_id": submission.name,
            "metadata": submission.metadata(),
        }
        return _submit(jobs, asked)


def pack(submission: Submission, folder: Path) -> None:
    """Fill the job's working directory: what `--with` names, and the spec.

    The spec names files of these folders by paths relative to the working directory.
    """
    for source in submission.folders:
        shutil.copytree(
            source, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__")
        )
    require(
        not (folder / SPEC).exists(),
        f"--with holds a file {SPEC}, the name of the job's own spec; rename it",
    )
    documents = [_relative(document, submission.folders) for document in submission.documents]
    (folder / SPEC).write_text(dump_documents(documents), encoding="utf-8")


def _relative(value: Any, folders: tuple[Path, ...]) -> Any:
    """Replace absolute paths of files in the folders by paths relative to their folder."""
    if isinstance(value, dict):
        return {key: _relative(each, folders) for key, each in value.items()}
    if not isinstance(value, str) or not Path(value).is_absolute():
        return value
    for folder in folders:
        if Path(value).is_relative_to(folder.absolute()):
            return str(Path(value).relative_to(folder.absolute()))
    return value


def _submit(jobs: JobSubmissionClient, asked: dict[str, Any]) -> str:
    """Submit the job; try again for `AGENT_S` seconds while the head has no agent."""
    deadline = time.monotonic() + AGENT_S
    while True:
        try:
            return jobs.submit_job(**asked)
        except RuntimeError as error:
            if "No available agent" not in str(error):
                raise
            require(
                time.monotonic() < deadline,
                f"the head takes no jobs after {AGENT_S:.0f} s: its agent does not run; if another "
                "Ray on that machine holds the agent's port, start the head with "
                "--dashboard-agent-listen-port",
            )
        time.sleep(1)


def follow(address: str | None, job: str) -> int:
    """Print what the job prints, until it ends; return its exit code."""
    printed = 0
    with client(address) as jobs:
        while True:
            info, log = _patiently(lambda: (jobs.get_job_info(job), jobs.get_job_logs(job)))
            print(log[printed:], end="", flush=True)
            printed = len(log)
            if info.status.is_terminal():
                break
            time.sleep(FOLLOW_S)
    print(describe(info), file=sys.stderr)
    return exit_code(info)


def _patiently(ask: Callable[[], tuple[JobDetails, str]]) -> tuple[JobDetails, str]:
    """Ask the Jobs API; ask again for `PATIENCE_S` seconds while the connection fails."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            return ask()
        except (ConnectionError, requests.RequestException):
            if time.monotonic() > deadline:
                raise
        time.sleep(FOLLOW_S)


def exit_code(info: JobDetails) -> int:
    """Return the exit code of a job that has ended: 143 if it was stopped."""
    if info.status == JobStatus.SUCCEEDED:
        return 0
    if info.status == JobStatus.STOPPED:
        return 128 + signal.SIGTERM
    code = info.driver_exit_code or 1
    return code if code > 0 else 128 - code  # a negative one is the signal that killed it


def describe(info: JobDetails) -> str:
    """Return Ray's state of a job and its last message, in one line."""
    message, *_ = (info.message or "").split(", last available logs")  # `logs` prints them
    message = " ".join(message.split())
    return f"{info.status.value}: {message}" if message else str(info.status.value)


def status(args: argparse.Namespace) -> int:
    """Print PENDING, RUNNING, SUCCEEDED, FAILED or STOPPED, the job's last message and progress.

    The progress is that of the results where they can be read from here, else the job's last line.
    """
    with client(args.address) as jobs:
        info, log = jobs.get_job_info(args.job), jobs.get_job_logs(args.job)
    print(describe(info), flush=True)  # reading rows takes seconds
    for line in job_progress(info, log):
        print(line)
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
