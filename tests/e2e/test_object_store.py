"""Everything in an S3 bucket: a run that is killed twice, resumed, read, reported and promoted.

The server is SeaweedFS where its program `weed` is installed, else moto's.
"""

import os
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import fsspec
import pandas as pd
import pytest

from sweeps.rows.results import Results
from tests.e2e.conftest import Amnesia
from tests.e2e.s3 import missing, s3_server
from unlearn.gallery import Gallery

pytestmark = pytest.mark.cluster

SPEC = """
name: bucket
models: [cnn]
method: task-arithmetic
forget: [[1]]
grid: {alpha: [-0.5, -1.0, -1.5, -2.0, -2.5, -3.0], rho: [0.0, 0.5]}
train: {steps: 60, expert_steps: 10}
"""
PLANNED = 12
ROWS, STORE, GALLERY = "s3://amnesia/results", "s3://amnesia/store", "s3://amnesia/gallery"


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Mapping[str, str]]:
    """A real S3 server with the bucket `amnesia`; yields the environment that finds it."""
    if missing():
        pytest.skip(missing())
    with served(tmp_path / "s3", monkeypatch) as environment:
        yield environment


@contextmanager
def served(
    folder: Path, monkeypatch: pytest.MonkeyPatch, seaweed: bool = True
) -> Iterator[Mapping[str, str]]:
    """The same; `seaweed`: whether SeaweedFS may be the server."""
    folder.mkdir()
    with s3_server(folder, seaweed) as server:
        prefix = "FSSPEC_S3_"
        found = server.environment.items()
        settings = {name.removeprefix(prefix).lower(): value for name, value in found}
        monkeypatch.setitem(fsspec.config.conf, "s3", settings)
        yield server.environment


def durable() -> pd.DataFrame:
    """The rows that are durable at this moment."""
    results = Results(ROWS)
    if "bucket" not in results.sweeps():
        return pd.DataFrame({"cell_id": [], "created_at": []})
    return results.read("bucket", ["status"])


def test_a_sweep_lives_in_a_bucket(
    bucket: Mapping[str, str], amnesia: Amnesia, tmp_path: Path
) -> None:
    (tmp_path / "spec.yaml").write_text(SPEC)
    places = ["--results", ROWS, "--store", STORE]
    seen = durable()
    for _ in range(2):
        run = amnesia("run", "spec.yaml", *places, cwd=tmp_path, **bucket)
        wanted, deadline = min(len(seen) + 2, PLANNED - 1), time.monotonic() + 300
        while len(durable()) < wanted:
            assert run.poll() is None, run.communicate()[0]
            assert time.monotonic() < deadline, "no rows within 300 s"
            time.sleep(0.1)
        os.killpg(run.pid, signal.SIGKILL)
        run.communicate()
        before, seen = seen, durable()
        assert set(before["cell_id"]) <= set(seen["cell_id"])

    run = amnesia("run", "spec.yaml", *places, cwd=tmp_path, **bucket)
    output, _ = run.communicate(timeout=400)
    assert run.returncode == 0, output
    rows = durable().set_index("cell_id")
    assert len(rows) == PLANNED
    assert (rows.loc[seen["cell_id"], "created_at"].to_numpy() == seen["created_at"]).all()
    table = pd.read_parquet(f"{ROWS}/v1", storage_options=fsspec.config.conf["s3"])
    assert sorted(table["cell_id"]) == sorted(rows.index)
    assert Results(ROWS).journal("bucket").names() == []

    for command in (
        ["compact", ROWS],
        ["show", ROWS, "--by", "status"],
        ["report", ROWS, "-o", "report.html"],
        ["promote", ROWS, "forgot-one", "--gallery", GALLERY],
    ):
        run = amnesia(*command, cwd=tmp_path, **bucket)
        output, _ = run.communicate(timeout=300)
        assert run.returncode == 0, output
    assert (tmp_path / "report.html").stat().st_size > 10_000
    assert Gallery(GALLERY).names() == ["forgot-one"]


@pytest.mark.skipif(find_spec("moto") is None, reason="moto is not installed")
def test_a_bucket_that_is_not_there_is_one_line(
    monkeypatch: pytest.MonkeyPatch, amnesia: Amnesia, tmp_path: Path
) -> None:
    """By moto: SeaweedFS makes a bucket at the first write into it."""
    (tmp_path / "spec.yaml").write_text(SPEC)
    with served(tmp_path / "s3", monkeypatch, seaweed=False) as bucket:
        run = amnesia("run", "spec.yaml", "--results", "s3://nowhere/x", cwd=tmp_path, **bucket)
        output, _ = run.communicate(timeout=300)
    assert run.returncode == 2, output
    assert len(output.strip().splitlines()) == 1
    assert "nowhere" in output


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"FSSPEC_S3_SECRET": "wrong"}, "PermissionError"),
        ({"FSSPEC_S3_ENDPOINT_URL": "http://127.0.0.1:9"}, "EndpointConnectionError"),
    ],
    ids=["wrong secret", "no server"],
)
def test_a_server_that_refuses_or_does_not_answer_is_one_line(
    settings: Mapping[str, str],
    reason: str,
    bucket: Mapping[str, str],
    amnesia: Amnesia,
    tmp_path: Path,
) -> None:
    (tmp_path / "spec.yaml").write_text(SPEC)
    for command in (["run", "spec.yaml", "--results", ROWS], ["show", ROWS]):
        run = amnesia(*command, cwd=tmp_path, **{**bucket, **settings})
        output, _ = run.communicate(timeout=300)
        assert run.returncode == 2, output
        [line] = output.strip().splitlines()
        assert line.startswith(f"amnesia: cannot reach {ROWS}/v1: {reason}: ")
