"""Compute a whole small sweep in this process, without Ray: `python in_process.py SPEC FOLDER`."""

import sys
from pathlib import Path

from sweeps.compute.artifacts import make
from sweeps.compute.cache import WorkerCache
from sweeps.plan.plan import make_plan
from sweeps.rows.fold import fold_now
from sweeps.rows.results import Results
from sweeps.run.places import places_for
from sweeps.run.trial import Pack, run_cell
from sweeps.spec.files import read_spec
from sweeps.spec.grid import grid_cells, problems
from unlearn.artifacts import Store

DATA = "unused"  # mnist5k and scikit-learn's digits are read from installed packages


def run_sweeps(spec: Path, folder: Path) -> Path:
    """Make the artifacts and the rows of a spec file's grids; return the results folder."""
    places = places_for(str(folder / "store"), str(folder / "results"), DATA)
    store, results = Store(places.store), Results(places.results)
    sweeps = read_spec(str(spec), [])
    for recipe in make_plan(sweeps, store, results).build:
        make(store, DATA, recipe, gpus=0, cpus=1)
    cache = WorkerCache(store, DATA, "cpu")
    for sweep in sweeps:
        for problem in problems(sweep):
            cells = tuple(grid_cells(sweep, problem))
            pack = Pack(sweep.name, cells, cpu=1, gpu=0, retry=False)
            for cell in cells:
                run_cell(cache, places, pack, cell)
        fold_now(results, sweep.name)
    return folder / "results"


if __name__ == "__main__":
    run_sweeps(Path(sys.argv[1]), Path(sys.argv[2]))
