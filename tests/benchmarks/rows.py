"""How rows scale: bytes of a row, reading by pandas, planning and running with 100,000 rows."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from sweeps.plan.plan import make_plan
from sweeps.rows.fold import FILE_ROWS, compact
from sweeps.rows.journal import encode
from sweeps.rows.results import Results
from sweeps.rows.schema import ROWS, Row, row_of
from sweeps.rows.tables import as_parquet, table_of
from sweeps.spec.files import read_spec
from sweeps.spec.grid import grid_cells, problems
from tests.benchmarks.clock import Result, interleaved, seconds
from tests.benchmarks.generators import Bench
from unlearn.artifacts import Store
from unlearn.files import write_whole

SPEC = """
name: grid
models: [cnn]
method: task-arithmetic
forget: [[1]]
grid: {{alpha: [{alphas}], rho: [{rhos}]}}
train: {{steps: 60, expert_steps: 10}}
eval: {{judges: 1}}
"""
SMALL_ROWS = 2000  # of the comparison with one file a row
SMALL_FILES = 200  # as many of the former are read; the time is scaled up


def spec(folder: Path, alphas: int, rhos: int) -> Path:
    """Write the spec of a grid of alphas x rhos cells."""
    values = ", ".join(f"{-k / alphas:.6f}" for k in range(alphas))
    shares = ", ".join(f"{k / rhos:.6f}" for k in range(rhos))
    path = folder / "grid.yaml"
    path.write_text(SPEC.format(alphas=values, rhos=shares))
    return path


def amnesia(folder: Path, *arguments: str) -> tuple[float, int]:
    """Run a command; return its wall seconds and the peak bytes of its own process."""
    program = (
        "import resource, sys; from cluster.main import entry; code = entry(sys.argv[1:]); "
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr); sys.exit(code)"
    )
    started = time.perf_counter()
    run = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
        capture_output=True,
        text=True,
    )
    took = time.perf_counter() - started
    if run.returncode:
        raise RuntimeError(run.stderr[-2000:])
    return took, int(run.stderr.split()[-1]) * 1024


def a_real_row(folder: Path) -> dict[str, Any]:
    """Run one cell and return what its row holds beside the cell."""
    amnesia(folder, "run", str(spec(folder, 1, 1)))
    (row,) = Results(str(folder / "results")).read_table("grid").to_pylist()
    shutil.rmtree(folder / "results")
    return {name: value for name, value in row.items() if value is not None}


def rows_like(outcome: dict[str, Any], path: Path, left: int = 0) -> Iterator[Row]:
    """Yield rows of all cells of the spec but the last `left`, with the scores of a real one."""
    (sweep,) = read_spec(str(path), [])
    (problem,) = problems(sweep)
    cells = list(grid_cells(sweep, problem))
    moment = datetime.now(UTC)
    for number, cell in enumerate(cells[: len(cells) - left]):
        own = row_of(cell, {})
        stamp = {"created_at": moment + timedelta(milliseconds=number)}
        yield {**outcome, **own, **stamp}


def fill(results: Results, rows: Iterator[Row]) -> None:
    """Write folded files, as a run leaves them."""
    pending: list[Row] = []
    number = 0
    for row in rows:
        pending.append(row)
        if len(pending) == FILE_ROWS:
            write_file(results, number, pending)
            pending, number = [], number + 1
    if pending:
        write_file(results, number, pending)


def write_file(results: Results, number: int, rows: list[Row]) -> None:
    path = f"{results.folder('grid')}/rows-{number:05d}.parquet"
    write_whole(path, as_parquet(table_of(rows)))


def read_vs_small_files(bench: Bench) -> Result:
    """pandas on one Parquet file a row, as before, against folded rows; bytes of both."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        outcome = a_real_row(folder)
        count = bench.count(SMALL_ROWS)
        path = spec(folder, count // 10, 10)
        rows = list(rows_like(outcome, path))
        small = folder / "small"
        small.mkdir()
        few = rows[: min(SMALL_FILES, count)]
        for row in few:
            table = pa.Table.from_pylist([row], schema=ROWS)
            pq.write_table(table, small / f"cell-{row['cell_id']}.parquet")
        results = Results(str(folder / "results"))
        fill(results, iter(rows))
        before, after = interleaved(
            lambda: pd.read_parquet(small), lambda: pd.read_parquet(results.table)
        )
        before *= count / len(few)
        folded = sum(file.stat().st_size for file in Path(results.folder("grid")).iterdir())
        return {
            "read_vs_small_files": before / after,
            "read_ms": after * 1000,
            "journal_bytes_per_row": sum(len(encode(row)) for row in few) / len(few),
            "folded_bytes_per_row": folded / count,
        }


def rows_at_scale(bench: Bench, count: int) -> Result:
    """With so many rows: planning all, a run that has nothing to do, a run of one more cell."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        outcome = a_real_row(folder)
        path = spec(folder, bench.count(count) // 100, 100)
        plan_s, _ = amnesia(folder, "plan", str(path))
        results = Results(str(folder / "results"))
        fill(results, rows_like(outcome, path, left=1))
        other = folder / "other"
        other.mkdir()
        one = str(spec(other, 1, 1))
        start_s, _ = amnesia(other, "run", one, "--store", str(folder / "store"))
        more_s, peak = amnesia(folder, "run", str(path))
        done_s, _ = amnesia(folder, "run", str(path))
        table = pd.read_parquet(results.table, columns=["cell_id"])
        if table["cell_id"].nunique() != len(table):
            raise RuntimeError("a cell has two rows")
        return {
            "rows": len(table),
            "plan_s": plan_s,
            "read_s": seconds(lambda: pd.read_parquet(results.table)),
            "finished_run_s": done_s,
            "one_more_cell_s": more_s,
            "small_run_s": start_s,
            "driver_peak_mb": peak / 1e6,
            "compact_s": seconds(lambda: compact(results)),
        }


def rows_10k(bench: Bench) -> Result:
    """10,000 rows."""
    return rows_at_scale(bench, 10_000)


def rows_100k(bench: Bench) -> Result:
    """100,000 rows."""
    return rows_at_scale(bench, 100_000)


def choosing_100k(bench: Bench) -> Result:
    """100,000 candidates that have rows: planning the cell that val chooses. No Ray.

    Processor seconds stand beside those of the clock, which other programs lengthen.
    """
    with TemporaryDirectory() as name:
        folder = Path(name)
        path = of_candidates(spec(folder, bench.count(100_000) // 100, 100))
        results, store = Results(str(folder / "results")), Store(str(folder / "store"))
        fill(results, read_on_val(path))
        sweeps = read_spec(str(path), [])
        started, cpu = time.perf_counter(), time.process_time()
        made = make_plan(sweeps, store, results)
        seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu
        if made.cells != 1:
            raise RuntimeError(f"{made.cells} cells were chosen, not 1")
        return {"plan_s": seconds, "plan_cpu_s": cpu_seconds}


def of_candidates(path: Path) -> Path:
    """Turn the cells of a spec into candidates."""
    path.write_text(path.read_text().replace("eval: {judges: 1}", "eval: {candidates: val}"))
    return path


def read_on_val(path: Path) -> Iterator[Row]:
    """Yield the rows of candidates with made-up scores, each read on all of val."""
    outcome = {"status": "ok", "val_forget_accuracy": 0.1, "val_stopped": False, "device": "cpu"}
    seconds = {"wall_s": 0.03, "unlearn_s": 0.01, "evaluate_s": 0.02}
    for number, row in enumerate(rows_like({**outcome, **seconds}, path)):
        yield {**row, "val_retain_accuracy": number % 997 / 997}


def grid_2000(bench: Bench) -> Result:
    """A sweep of 2,000 short cells: wall time beside the seconds that its cells compute."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        path = of_candidates(spec(folder, bench.count(SMALL_ROWS) // 10, 10))
        wall_s, peak = amnesia(folder, "run", str(path))
        rows = pd.read_parquet(folder / "results" / "v1")
        slots = os.cpu_count() or 1
        computing = float(rows["wall_s"].sum())
        return {
            "wall_s": wall_s,
            "computing_s": computing,
            "regret_s": float(rows["regret_s"].sum()),
            "allowed_s": 1.5 * computing / slots + 20,
            "rows": len(rows),
            "driver_peak_mb": peak / 1e6,
        }


_ALL = (read_vs_small_files, choosing_100k, grid_2000, rows_10k, rows_100k)
BENCHES = {bench.__name__: bench for bench in _ALL}
