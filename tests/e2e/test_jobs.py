"""submit, status, logs and stop, against the Jobs API of a real Ray head that asks for a token."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

SPEC = """
name: as-a-job
models: [cnn]
method: fine-tune
forget: [[1]]
grid: {steps: [5, 10]}
train: {steps: 40}
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, dict[str, str]]]:
    """A Ray head on free ports, with a token.

    Yields the address of its Jobs API, and the environment of a client that has the token.
    """
    token = tmp_path_factory.mktemp("head") / "token"
    token.write_text("a-token-of-this-test-0123456789abcdef")
    here = str(Path(sys.executable).parent)  # a job's `python` is the first on its head's PATH
    environment = {
        **os.environ,
        "PATH": f"{here}{os.pathsep}{os.environ['PATH']}",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "PYTHONPATH": "",
        "RAY_GRAFANA_HOST": "",
    }
    ray = str(Path(sys.executable).with_name("ray"))
    port, dashboard = free_port(), free_port()
    command = [
        ray,
        "start",
        "--head",
        f"--port={port}",
        "--dashboard-host=127.0.0.1",
        f"--dashboard-port={dashboard}",
        f"--dashboard-agent-listen-port={free_port()}",  # another test's Ray has the default
        "--include-dashboard=true",
        "--num-cpus=2",
        "--disable-usage-stats",
        "--block",
    ]
    process = subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    address = f"http://127.0.0.1:{dashboard}"
    try:
        wait_until_up(dashboard)
        yield address, {**environment, "RAY_ADDRESS": ""}
    finally:
        process.terminate()
        process.wait(timeout=60)


def wait_until_up(port: int) -> None:
    """Wait until something listens on the port."""
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.3)
    pytest.fail("the head did not come up within 90 s")


def command(
    environment: dict[str, str], *arguments: str, cwd: Path
) -> subprocess.CompletedProcess[str]:
    """Run `amnesia ...` to its end."""
    root = str(Path(__file__).parents[2])
    return subprocess.run(
        [sys.executable, "-m", "cluster", *arguments],
        cwd=cwd,
        env={**environment, "PYTHONPATH": root},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def wait_for(environment: dict[str, str], address: str, job: str, cwd: Path, *states: str) -> str:
    """Wait until the job is in one of these states; return what `amnesia status` prints."""
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        status = command(environment, "status", job, "--address", address, cwd=cwd).stdout.strip()
        if status.startswith(states):
            return status
        time.sleep(1)
    logs = command(environment, "logs", job, "--address", address, cwd=cwd).stdout
    pytest.fail(f"{job} is {status}, not one of {states}\n{logs}")


def test_a_job_from_submission_to_rows(head: tuple[str, dict[str, str]], tmp_path: Path) -> None:
    address, environment = head
    (tmp_path / "spec.yaml").write_text(SPEC)
    submitted = command(
        environment, "submit", "spec.yaml", "--address", address, "--set", "seeds=[3]", cwd=tmp_path
    )
    assert submitted.returncode == 0, submitted.stderr
    job = submitted.stdout.strip()
    status = wait_for(environment, address, job, tmp_path, "SUCCEEDED", "FAILED", "STOPPED")
    logs = command(environment, "logs", job, "--address", address, cwd=tmp_path).stdout
    assert status.startswith("SUCCEEDED"), logs
    assert "done: 2 cells" in logs
    rows = pd.read_parquet(tmp_path / "results" / "v1")
    assert sorted(rows["steps"]) == [5, 10]
    assert set(rows["seed"]) == {3}


def test_a_job_can_be_stopped(head: tuple[str, dict[str, str]], tmp_path: Path) -> None:
    address, environment = head
    (tmp_path / "spec.yaml").write_text(SPEC)
    long = ["--set", "grid.steps=[100000]"]
    submit = ("submit", "spec.yaml", "--address", address, *long)
    job = command(environment, *submit, cwd=tmp_path).stdout.strip()
    wait_for(environment, address, job, tmp_path, "RUNNING")
    stopped = command(environment, "stop", job, "--address", address, cwd=tmp_path)
    assert stopped.stdout.strip() == "stopping"
    status = wait_for(environment, address, job, tmp_path, "STOPPED", "FAILED", "SUCCEEDED")
    assert status.startswith("STOPPED")


REFUSED = (
    ["status", "no-such-job"],
    ["logs", "no-such-job"],
    ["stop", "no-such-job"],
    ["submit", "spec.yaml", "--set", "models=[vae]"],
)


def test_refusals_are_one_line(head: tuple[str, dict[str, str]], tmp_path: Path) -> None:
    address, environment = head
    (tmp_path / "spec.yaml").write_text(SPEC)
    for arguments in REFUSED:
        run = command(environment, *arguments, "--address", address, cwd=tmp_path)
        assert run.returncode == 2, run
        assert run.stderr.startswith("amnesia: ")
        assert len(run.stderr.strip().splitlines()) == 1
    stranger = {**environment, "RAY_AUTH_TOKEN_PATH": str(tmp_path / "none"), "HOME": str(tmp_path)}
    (tmp_path / "none").write_text("another-token-that-is-not-the-heads")
    run = command(stranger, "status", "no-such-job", "--address", address, cwd=tmp_path)
    assert run.returncode == 2
    assert "refused the token" in run.stderr
    assert len(run.stderr.strip().splitlines()) == 1
