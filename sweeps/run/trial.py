"""One trial: a pack of cells in a reused actor. Every cell's row is on disk before the next cell starts."""

import math
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import ray
import torch
from ray import tune

from sweeps.compute.cache import WorkerCache, configure_worker, pick_device
from sweeps.compute.cell import BestSoFar, Tuning, compute, compute_candidate, tuned
from sweeps.rows.results import Results, Row, row_of
from sweeps.spec.cells import Cell
from sweeps.spec.sweep import Sweep
from unlearn.artifacts import Store
from unlearn.errors import one_line

FIRST_WAIT_S, LONGEST_WAIT_S = (
    0.05,
    1.0,
)  # between two times that a pack which has ended asks whether it may


@dataclass(frozen=True)
class Places:
    """Where a sweep works: its rows, its artifacts, its data, and the revision of the code that runs."""

    results: str
    store: str
    data_root: str
    git_revision: str | None


@dataclass(frozen=True)
class Pack:
    """Cells for one trial; `retry`: also those whose row holds an error. `bars`: by method the best score on val so
    far, which a candidate must still be able to reach. `tuning`: by cell_id what a chosen one was chosen from. `trial`:
    1, and one more for each worker that died on these cells."""

    sweep: str
    cells: tuple[Cell, ...]
    cpu: float
    gpu: float
    retry: bool
    bars: tuple[tuple[str, float], ...] = ()
    tuning: tuple[tuple[str, Tuning], ...] = ()
    trial: int = 1


class PackTrial(tune.Trainable):
    """Computes a pack in its first step; every other waits, until the scheduler ends it. Its worker cache outlives the
    pack, because the actor is reused."""

    def setup(self, config: dict[str, Any]) -> None:
        pack, places = config["pack"], config["site"]
        configure_worker(pack.cpu)
        self.places: Places = places
        self.cache = WorkerCache(Store(places.store), places.data_root, pick_device(pack.gpu))
        self.pack: Pack = pack
        self.rows: list[dict[str, Any]] = []
        self.wait_s = FIRST_WAIT_S

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.pack, self.rows, self.wait_s = new_config["pack"], [], FIRST_WAIT_S
        return self.places == new_config["site"]

    def step(self) -> dict[str, Any]:
        if self.rows:
            time.sleep(self.wait_s)
            self.wait_s = min(2 * self.wait_s, LONGEST_WAIT_S)
            return {"rows": self.rows}
        bars = BestSoFar(self.pack.bars)
        for cell in self.pack.cells:
            row = run_cell(self.cache, self.places, self.pack, cell, bars.of(cell.method))
            bars.heed(cell.method, row)
            self.rows.append({name: row[name] for name in REPORTED if name in row})
        return {"rows": self.rows}


# what the searcher and the progress bar hear of a row: nothing of the test set
REPORTED = ("cell_id", "status", "wall_s", "val_forget_accuracy", "val_forget_probability", "val_retain_accuracy",
        "val_stopped")  # fmt: skip


def run_cell(
    cache: WorkerCache, places: Places, pack: Pack, cell: Cell, bar: float = -math.inf
) -> Row:
    """Compute, score and write one cell; an error becomes a failed row. A cell that has a row is not computed
    again, unless that holds an error and the pack is for that: its row is what it was, and took no seconds."""
    results = Results(places.results)
    known = results.find(pack.sweep, cell.cell_id)
    if known is not None and not (pack.retry and known["error"]):
        return known | {"wall_s": 0.0}
    started = time.perf_counter()
    try:
        work = (
            compute
            if cell.problem.eval.candidates == "full"
            else partial(compute_candidate, bar=bar)
        )
        outcome = {"status": "ok", **work(cache, cell)}
    except Exception as error:  # whatever a method does, its cell gets a row that says so
        outcome = {"status": "failed", "error": one_line(error)}
    if outcome["status"] == "ok" and (tuning := dict(pack.tuning).get(cell.cell_id)):
        found = _tuned(cache, cell, tuning)
        notes = [note for note in (outcome.get("error"), found.get("error")) if note]
        outcome |= {**found, "error": "; ".join(notes) or None}
    outcome |= {"wall_s": time.perf_counter() - started, **provenance(cache, places, cell)}
    row = row_of(cell, outcome)
    results.write(pack.sweep, row)
    return row


def record_failure(places: Places, sweep: Sweep, cell: Cell, error: str) -> None:
    """Write the row of a cell that no trial could write."""
    outcome = {
        "status": "failed",
        "error": error,
        "store": places.store,
        "git_revision": places.git_revision,
    }
    Results(places.results).write(
        sweep.name, row_of(cell, {**outcome, "created_at": datetime.now(UTC)})
    )


def _tuned(cache: WorkerCache, cell: Cell, tuning: Tuning) -> dict[str, Any]:
    """What choosing the cell took and cost; its scores stand where that cannot be told, with the reason as `error`."""
    try:
        return tuned(cache, cell, tuning)
    except Exception as error:  # as above: whatever a candidate does when it is made again
        return {"error": f"no selection_regret: {one_line(error)}"}


def _own_version() -> str | None:
    """None where the code was shipped to the cluster with a job instead of being installed there."""
    try:
        return version("amnesia")
    except PackageNotFoundError:
        return None


def provenance(cache: WorkerCache, places: Places, cell: Cell) -> dict[str, Any]:
    """Where a row comes from: artifacts, versions, device, time."""
    recipes = cell.recipes()
    kinds = ("original", "oracle", "fisher", "expert")
    keys: dict[str, Any] = {
        f"artifact_{kind}": recipes[kind].key for kind in kinds if kind in recipes
    }
    seats = [seat for seat in cell.problem.judges if seat != "val"]
    judges = (
        {"judge_names": seats, "artifact_judges": [recipes[f"judge-{seat}"].key for seat in seats]}
        if seats
        else {}
    )
    versions = {
        "version_amnesia": _own_version(),
        "version_torch": torch.__version__,
        "version_ray": ray.__version__,
    }
    where = {"device": cache.device, "threads": torch.get_num_threads(), "store": places.store}
    return {
        **keys,
        **judges,
        **versions,
        **where,
        "git_revision": places.git_revision,
        "created_at": datetime.now(UTC),
    }
