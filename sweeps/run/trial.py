"""One trial: a pack of cells in a reused actor; each row is written before the next cell starts."""

import math
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import ray
import torch
from ray import tune

from sweeps.choose.choose import seconds_spent
from sweeps.compute.cache import WorkerCache, configure_worker, device_name, pick_device
from sweeps.compute.candidates import (
    BestSoFar,
    Tuning,
    ValScores,
    compute_candidate,
    regret_columns,
    tuning_columns,
    val_scores,
)
from sweeps.compute.cell import Made, compute
from sweeps.compute.gpu import Crowded, lacks_memory, memory_gib, watch_memory
from sweeps.compute.outcome import Outcome
from sweeps.compute.together import unlearn_together
from sweeps.rows.results import Lookup, Results
from sweeps.rows.schema import Row, row_of
from sweeps.run.nodes import data_root_here
from sweeps.run.places import Places
from sweeps.spec.cells import Cell
from sweeps.spec.sweep import Sweep
from unlearn.artifacts import Store
from unlearn.errors import CannotWrite, NotFinite, one_line

FIRST_WAIT_S, LONGEST_WAIT_S = 0.05, 1.0  # between steps of a finished trial that is held


@dataclass(frozen=True)
class Pack:
    """Cells for one trial.

    sweep: by name
    cells: of one source, so they share their artifacts; of several where they are `stacked`
    cpu, gpu: what the trial is given
    retry: whether cells whose row holds an error are computed again
    best: (method, best score on val so far), which a candidate must still be able to reach
    tuning: (`cell_id`, the candidates behind it) of chosen cells
    attempt: 1, and one more for each worker that died on these cells
    stacked: whether the cells are unlearned as one program
    may_grow: whether cells for which its GPU has too little memory are tried with a larger share
    """

    sweep: str
    cells: tuple[Cell, ...]
    cpu: float
    gpu: float
    retry: bool
    best: tuple[tuple[str, float], ...] = ()
    tuning: tuple[tuple[str, Tuning], ...] = ()
    attempt: int = 1
    stacked: bool = False
    may_grow: bool = False


@dataclass(frozen=True)
class CellReport:
    """The driver's view of a finished cell; it holds no score on test.

    cell_id: of the cell
    failed: whether it has no scores
    wall_s: seconds it took; 0 where its row already existed
    spent_s: seconds of unlearning and scoring that its row tells, as `sweeps.choose.choose.spent`
    val: its scores on val; None where it has none
    """

    cell_id: str
    failed: bool
    wall_s: float
    val: ValScores | None
    spent_s: float = 0.0


def report_of(row: Mapping[str, Any], wall_s: float) -> CellReport:
    """Return the report of a row."""
    failed = row["status"] == "failed"
    spent_s = seconds_spent(row)
    return CellReport(row["cell_id"], failed, wall_s, val_scores(row), spent_s)


class PackTrial(tune.Trainable):
    """Computes a pack in its first step; later steps wait until the scheduler ends the trial.

    Its worker cache outlives the pack, because the actor is reused.
    """

    def setup(self, config: dict[str, Any]) -> None:
        pack, places = config["pack"], config["places"]
        configure_worker(pack.cpu)
        self.places: Places = places
        store = Store(places.store)
        data_root = data_root_here(places.data_root)
        self.cache = WorkerCache(store, data_root, pick_device(pack.gpu))
        self.begin(pack)

    def begin(self, pack: Pack) -> None:
        self.pack = pack
        self.result: dict[str, Any] = {}
        self.wait_s = FIRST_WAIT_S

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.begin(new_config["pack"])
        return bool(self.places == new_config["places"])

    def step(self) -> dict[str, Any]:
        """Return {reports, halt, crowded}.

        reports: of the cells, in their order
        halt: why the run must stop; "" if it goes on
        crowded: whether its GPU had too little memory for the next cell, which has no row then
        """
        if self.result:
            time.sleep(self.wait_s)
            self.wait_s = min(2 * self.wait_s, LONGEST_WAIT_S)
            return dict(self.result)
        reports: list[CellReport] = []
        halt, crowded = "", False
        try:
            for report in self._reports():
                reports.append(report)
        except CannotWrite as error:  # no other cell could be written either
            halt = str(error)
        except Crowded:
            crowded = True
            torch.cuda.empty_cache()  # for its neighbours
        self.result = {"reports": reports, "halt": halt, "crowded": crowded}
        return dict(self.result)  # Tune adds to it

    def _reports(self) -> Iterator[CellReport]:
        pack = self.pack
        lookup = Lookup(Results(self.places.results), pack.sweep)
        best = BestSoFar(pack.best)
        made = self._made_together(lookup) if pack.stacked else {}
        for cell in pack.cells:
            name = cell.method_name
            own = made.pop(cell.cell_id, None)
            report = run_cell(self.cache, self.places, pack, cell, best.of(name), lookup, own)
            best.update(name, report.val)
            yield report

    def _made_together(self, lookup: Lookup) -> dict[str, Made | NotFinite]:
        """Unlearn the pack's missing cells as one program; {} where that fails: then one by one."""
        missing = [cell for cell in self.pack.cells if known_row(lookup, self.pack, cell) is None]
        watch_memory()
        try:
            return unlearn_together(self.cache, missing)
        except CannotWrite:
            raise
        except Exception as error:  # of a user's network; alone, it fails with a row of its own
            print(f"warning: cells run one by one: {one_line(error)}", file=sys.stderr)
            return {}


def known_row(lookup: Lookup, pack: Pack, cell: Cell) -> Row | None:
    """Return the cell's row; None where it has none, or the pack computes it again."""
    row = lookup.row(cell.cell_id)
    return None if row is None or (pack.retry and row["error"]) else row


def run_cell(
    cache: WorkerCache,
    places: Places,
    pack: Pack,
    cell: Cell,
    best: float = -math.inf,
    lookup: Lookup | None = None,
    made: Made | NotFinite | None = None,
) -> CellReport:
    """Compute, score and write one cell; an error becomes a failed row.

    best: of the method on val so far; a candidate that cannot reach it stops early
    lookup: of the pack's sweep, kept from cell to cell
    made: what unlearning gave, where that was done already, together with other cells

    A cell that has a row is not computed again, unless the row holds an error and the pack retries.
    Raises `CannotWrite`, and `Crowded` where the pack may get a larger share of its GPU.
    """
    lookup = lookup or Lookup(Results(places.results), pack.sweep)
    known = known_row(lookup, pack, cell)
    if known is not None:
        return report_of(known, wall_s=0.0)
    started = time.perf_counter()
    if made is None:
        watch_memory()
    outcome = _computed(cache, cell, best, made)
    tuning = dict(pack.tuning).get(cell.cell_id)
    if tuning is not None and not outcome.failed:
        outcome = _with_tuning(cache, cell, tuning, outcome)
    if pack.may_grow and lacks_memory(outcome.error):
        raise Crowded(outcome.error)
    wall_s = time.perf_counter() - started
    if isinstance(made, Made):
        wall_s += made.seconds
    columns = {
        **outcome.as_columns(),
        "wall_s": wall_s,
        "gpu_share": pack.gpu,
        **provenance(cache, places, cell),
    }
    row = row_of(cell, columns)
    lookup.results.write(pack.sweep, row)
    return report_of(row, wall_s)


def _computed(
    cache: WorkerCache, cell: Cell, best: float, made: Made | NotFinite | None
) -> Outcome:
    try:
        if isinstance(made, NotFinite):
            raise made
        if cell.problem.eval.candidates == "val":
            return compute_candidate(cache, cell, best)
        return compute(cache, cell, made)
    except CannotWrite:
        raise
    except Exception as error:  # whatever a method raises, its cell gets a row that says so
        return Outcome(status="failed", error=one_line(error))


def _with_tuning(cache: WorkerCache, cell: Cell, tuning: Tuning, outcome: Outcome) -> Outcome:
    """Add what choosing the cell took and cost; if the cost cannot be computed, add the error."""
    outcome = outcome.extended(tuning_columns(tuning))
    try:
        return outcome.extended(regret_columns(cache, cell, tuning))
    except Exception as error:  # as above: a candidate may fail when it is made again
        return outcome.extended({}, f"no selection_regret: {one_line(error)}")


def record_failure(places: Places, sweep: Sweep, cell: Cell, error: str) -> Row:
    """Write and return the failed row of a cell that no trial could compute."""
    outcome = Outcome(status="failed", error=error)
    where = {"store": places.store, "git_revision": places.git_revision}
    columns = {**outcome.as_columns(), **where, "created_at": datetime.now(UTC)}
    row = row_of(cell, columns)
    Results(places.results).write(sweep.name, row)
    return row


def _own_version() -> str | None:
    """Return our version; None where a job shipped the code instead of installing it."""
    try:
        return version("amnesia")
    except PackageNotFoundError:
        return None


def provenance(cache: WorkerCache, places: Places, cell: Cell) -> dict[str, Any]:
    """Return the columns that say where a row comes from: artifacts, versions, device, time."""
    recipes = cell.recipes()
    columns: dict[str, Any] = {}
    for kind in ("original", "oracle", "fisher", "expert"):
        if kind in recipes:
            columns[f"artifact_{kind}"] = recipes[kind].key
    reporting = [seat for seat in cell.problem.judges if seat not in ("val", "referee")]
    if reporting:
        columns["judge_names"] = reporting
        columns["artifact_judges"] = [recipes[f"judge-{seat}"].key for seat in reporting]
    return columns | {
        "version_amnesia": _own_version(),
        "version_torch": torch.__version__,
        "version_ray": ray.__version__,
        "device": cache.device,
        "device_name": device_name(cache.device),
        "gpu_memory_gib": memory_gib(),
        "threads": torch.get_num_threads(),
        "store": places.store,
        "git_revision": places.git_revision,
        "created_at": datetime.now(UTC),
    }
