"""Compute a whole small sweep in this process, without Ray: `python in_process.py SPEC FOLDER`."""

import sys
from datetime import UTC, datetime
from pathlib import Path

from sweeps.compute.cache import WorkerCache
from sweeps.compute.cell import compute
from sweeps.plan.plan import make_plan
from sweeps.rows.results import Results
from sweeps.rows.schema import row_of
from sweeps.run.prepare import make
from sweeps.spec.cells import grid_cells, problems
from sweeps.spec.parse import read_spec
from unlearn.artifacts import Store


def run_sweeps(spec: Path, folder: Path) -> Path:
    """Make the artifacts and the rows of a spec file's grids; return the results folder."""
    store, results = Store(str(folder / "store")), Results(str(folder / "results"))
    sweeps = read_spec(str(spec), [])
    for recipe in make_plan(sweeps, store, results).build:
        make(store, "unused", recipe, gpus=0, cpus=1)
    cache = WorkerCache(store, "unused", "cpu")
    for sweep in sweeps:
        for problem in problems(sweep):
            for cell in grid_cells(sweep, problem):
                columns = {**compute(cache, cell).as_columns(), "created_at": datetime.now(UTC)}
                results.write(sweep.name, row_of(cell, columns))
    return folder / "results"


if __name__ == "__main__":
    run_sweeps(Path(sys.argv[1]), Path(sys.argv[2]))
