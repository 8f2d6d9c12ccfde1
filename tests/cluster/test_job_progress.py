"""The progress of a job: of its results where they can be read from here, else of its log."""

from pathlib import Path
from typing import Any

from ray.job_submission import JobDetails, JobStatus, JobType

from cluster.job_progress import job_progress, metadata_of
from sweeps.rows.results import Results
from sweeps.rows.runs import RunRecord, write_record
from tests.sweeps import builders as make

LOG = "cells: 4 to run, 0 done\ncells: 1 of 4 cells, 0 failed, 3 left, ETA 00:09\n"
LINE = "cells: 1 of 4 cells, 0 failed, 3 left, ETA 00:09"
START = 1_000.0  # seconds since 1970 at which the job started


def job(results: Results, status: JobStatus, **changes: Any) -> JobDetails:
    """A job of sweep `s`, as `submit` leaves it."""
    told = {"metadata": metadata_of(results.root, ["s"]), "start_time": int(START * 1000)}
    given = {**told, **changes}
    return JobDetails(type=JobType.SUBMISSION, status=status, entrypoint="python", **given)


def three_of_four(results: Results, started_at: float) -> None:
    """A run that planned four cells; two have scores, and one has failed."""
    cells = make.cells(grid={"steps": [5, 6, 7, 8]})
    make.write(results, cells[0], wall_s=1.0)
    make.write(results, cells[1], wall_s=1.0)
    make.write(results, cells[2], "failed", error="by hand")
    write_record(results, RunRecord("s", planned=4, done=0, slots=1, started_at=started_at))


def test_the_rows_are_counted_while_the_job_runs(tmp_path: Path) -> None:
    results = make.results(tmp_path)
    three_of_four(results, START + 1)
    [line] = job_progress(job(results, JobStatus.RUNNING), LOG)
    assert line.startswith("s: 2 done, 1 failed, 1 left, ")
    assert "cells a minute" in line
    assert " to go" in line


def test_a_job_that_has_ended_has_no_eta(tmp_path: Path) -> None:
    results = make.results(tmp_path)
    three_of_four(results, START + 1)
    lines = job_progress(job(results, JobStatus.STOPPED), LOG)
    assert lines == ["s: 2 done, 1 failed, 1 left"]


def test_the_record_of_an_earlier_run_does_not_count(tmp_path: Path) -> None:
    results = make.results(tmp_path)
    three_of_four(results, START - 1)
    assert job_progress(job(results, JobStatus.RUNNING), LOG) == [LINE]


def test_out_of_reach_the_log_counts(tmp_path: Path) -> None:
    nowhere = Results(str(tmp_path / "nowhere"))
    assert job_progress(job(nowhere, JobStatus.RUNNING), LOG) == [LINE]
    foreign = Results("no-such-protocol://bucket")
    assert job_progress(job(foreign, JobStatus.RUNNING), LOG) == [LINE]
    assert job_progress(job(nowhere, JobStatus.RUNNING, metadata=None), "") == []
