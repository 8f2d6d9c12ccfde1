"""What a job carries, and how its end is told; no Ray runs here."""

from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from ray.job_submission import JobDetails, JobStatus, JobType

from cluster import jobs
from unlearn.errors import BadInput


def details(status: JobStatus, code: int | None = None, message: str | None = None) -> JobDetails:
    return JobDetails(
        type=JobType.SUBMISSION,
        status=status,
        entrypoint="python",
        driver_exit_code=code,
        message=message,
    )


def mine(folder: Path) -> Path:
    """A folder with a builder, weights, and what Python caches."""
    made = folder / "mine"
    (made / "__pycache__").mkdir(parents=True)
    (made / "builders.py").write_text("x" * 700)
    (made / "own.safetensors").write_bytes(b"w" * 1300)
    (made / "__pycache__" / "builders.pyc").write_bytes(b"c" * 999)
    return made


def test_the_job_finds_the_folders_files_and_a_spec_that_names_them(tmp_path: Path) -> None:
    folder = mine(tmp_path)
    elsewhere = "/shared/start.safetensors"
    document = {
        "name": "s",
        "weights": str(folder / "own.safetensors"),
        "options": {"pretrained": elsewhere},
    }
    job = tmp_path / "job"
    job.mkdir()

    jobs.pack(jobs.Submission([document], [], folders=(folder,)), job)

    assert sorted(path.name for path in job.iterdir()) == [
        "builders.py",
        "own.safetensors",
        "spec.yaml",
    ]
    [written] = yaml.safe_load_all((job / "spec.yaml").read_text())
    assert written["weights"] == "own.safetensors"
    assert written["options"] == {"pretrained": elsewhere}


def test_a_folder_that_holds_the_specs_name_is_refused(tmp_path: Path) -> None:
    folder = mine(tmp_path)
    (folder / "spec.yaml").write_text("")
    job = tmp_path / "job"
    job.mkdir()
    with pytest.raises(BadInput, match=r"--with holds a file spec\.yaml"):
        jobs.pack(jobs.Submission([{}], [], folders=(folder,)), job)


def test_what_is_shipped_is_listed_with_its_size(tmp_path: Path) -> None:
    listed = jobs.Submission([{}], [], folders=(mine(tmp_path),)).shipped()
    assert [line.split(":")[0] for line in listed] == [
        *("cluster", "serve", "sweeps", "unlearn"),
        "mine",
    ]
    assert listed[-1] == "mine: 2 kB"  # 700 + 1300 bytes


def test_too_large_a_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "size_of", lambda folder: 600_000_000)
    with pytest.raises(BadInput, match="--with ships 600 MB, the cluster takes 500"):
        jobs.Submission([{}], [], folders=(mine(tmp_path),))


@pytest.mark.parametrize(
    ("info", "code"),
    [
        (details(JobStatus.SUCCEEDED, 0), 0),
        (details(JobStatus.FAILED, 1), 1),
        (details(JobStatus.FAILED, -9), 137),
        (details(JobStatus.FAILED, None), 1),
        (details(JobStatus.STOPPED, -15), 143),
    ],
)
def test_the_exit_code_is_the_jobs(info: JobDetails, code: int) -> None:
    assert jobs.exit_code(info) == code


class Cluster:
    """Stands in for the Jobs API: the job prints a line between any two looks."""

    def __init__(self) -> None:
        self.looks = 0

    def get_job_info(self, job: str) -> JobDetails:
        self.looks += 1
        if self.looks == 2:
            raise requests.ConnectionError("a moment's blackout")
        return details(JobStatus.FAILED, 1) if self.looks == 4 else details(JobStatus.RUNNING)

    def get_job_logs(self, job: str) -> str:
        return "".join(f"line {look}\n" for look in range(self.looks))


def test_following_prints_each_line_once_and_outlives_a_blackout(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster: Any = Cluster()
    monkeypatch.setattr(jobs, "JobSubmissionClient", lambda address: cluster)
    monkeypatch.setattr(jobs, "FOLLOW_S", 0.0)

    assert jobs.follow("http://head:8265", "job-1") == 1

    printed = capsys.readouterr()
    assert printed.out == "line 0\nline 1\nline 2\nline 3\n"
    assert printed.err == "FAILED\n"
