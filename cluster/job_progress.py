"""How far the sweeps of a job are, from its results where this machine reaches them, else its log.

`submit` leaves the place of the results and the names of the sweeps in the job's metadata.
"""

import json
from collections.abc import Mapping
from dataclasses import replace

from ray.job_submission import JobDetails

from cluster.progress import last_line
from unlearn.errors import BadInput
from unlearn.files import exists, join

RESULTS, SWEEPS = "amnesia_results", "amnesia_sweeps"  # keys of the metadata


def metadata_of(results: str, sweeps: list[str]) -> dict[str, str]:
    """Return what `job_progress` reads from a job, as Ray keeps it."""
    return {RESULTS: results, SWEEPS: json.dumps(sweeps)}


def job_progress(info: JobDetails, log: str) -> list[str]:
    """Return a line for each sweep of the job; [] while there is nothing to tell.

    The rows count the cells of earlier runs, too; the log counts those of the job alone.
    """
    line = last_line(log)
    return from_results(info) or ([] if line is None else [line])


def from_results(info: JobDetails) -> list[str]:
    """Return a line for each sweep whose run has begun; [] where its results are out of reach."""
    told: Mapping[str, str] = info.metadata or {}
    results = told.get(RESULTS)
    try:
        if not results or not exists(join(results, "v1", ".runs")):
            return []
        found = [_line(results, sweep, info) for sweep in json.loads(told[SWEEPS])]
    except (BadInput, OSError):  # no access from here, or other files of that name
        return []
    return [line for line in found if line]


def _line(results: str, sweep: str, info: JobDetails) -> str:
    """Return the sweep's line; nothing before its run has begun.

    A run of this job began after the job did: an older record is of an earlier run, or of another
    machine's folder of the same name.
    """
    from sweeps.report.watch import progress_line  # imports torch: takes seconds
    from sweeps.rows.results import Results
    from sweeps.rows.runs import progress, read_record

    rows = Results(results)
    record = read_record(rows, sweep)
    if record is None or record.started_at < (info.start_time or 0) / 1000:
        return ""
    seen = progress(rows, sweep)
    if info.status.is_terminal():  # nothing comes any more
        seen = replace(seen, rate=None, eta_s=None, last_s=None)
    return progress_line(seen)
