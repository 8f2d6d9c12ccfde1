"""Carry out the sub-commands: each function takes the parsed arguments, returns the exit code."""

import argparse
import os
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from pandas.api.types import is_numeric_dtype

from cluster import jobs
from cluster.progress import ProgressBars
from cluster.ray_session import check_reachable, ray_session
from sweeps.choose import promote as promoting
from sweeps.plan.cost import describe, estimate
from sweeps.plan.plan import Plan, make_plan
from sweeps.report import show as showing
from sweeps.rows import compact as compacting
from sweeps.rows.results import Results
from sweeps.run.places import places_for
from sweeps.run.run import Ran
from sweeps.run.run import run as run_plan
from sweeps.spec.files import read_documents, read_spec, shipped
from sweeps.spec.sweep import Sweep
from unlearn.artifacts import Gallery, Store
from unlearn.data import load
from unlearn.errors import require


def data_root() -> str:
    """Return the folder of data sets: $AMNESIA_DATA, else ~/.cache/amnesia/data."""
    return os.environ.get("AMNESIA_DATA") or str(Path.home() / ".cache" / "amnesia" / "data")


def absolute(place: str) -> str:
    """Make a local path absolute; leave a URL as it is."""
    return place if "://" in place else str(Path(place).absolute())


def documents(spec: str, changes: list[str]) -> list[dict[str, Any]]:
    """Check a spec, its changes applied, and return it as plain documents."""
    read_spec(spec, changes)
    return read_documents(spec, changes)


def plan(args: argparse.Namespace) -> int:
    """Print what a run would do; starts no Ray."""
    if args.list or args.spec is None:
        require(args.list, "plan needs a SPEC; `amnesia plan --list` names the shipped ones")
        print("\n".join(shipped()))
        return 0
    store, results = Store(absolute(args.store)), Results(absolute(args.results))
    made = make_plan(read_spec(args.spec, args.set), store, results, args.retry_failed)
    print(describe(made, estimate(made)))
    return 0


def run(args: argparse.Namespace) -> int:
    """Run a sweep; name every cell that has an error."""
    sweeps = read_spec(args.spec, args.set)
    ran = run_sweeps(sweeps, args.results, args.store, args.address, args.retry_failed)
    if ran is None:
        print("nothing to do: every cell has its row", file=sys.stderr)
    errors = print_errors(sweeps, args.results, args.store)
    if ran is not None and not errors:
        seconds, table = ran.prepare_s + ran.tune_s, Results(absolute(args.results)).table
        print(f"done: {ran.cells} cells in {seconds:.1f} s; rows in {table}", file=sys.stderr)
    return 1 if errors else 0


def print_errors(sweeps: list[Sweep], results: str, store: str) -> bool:
    """Print the error of every planned cell that has one; tell whether there is any."""
    errors = make_plan(sweeps, Store(absolute(store)), Results(absolute(results))).errors
    for row in errors:
        how = "failed" if row["status"] == "failed" else "incomplete"
        print(f"{how}: {row['sweep']} {row['cell_id']}: {row['error']}", file=sys.stderr)
    return bool(errors)


def run_sweeps(
    sweeps: list[Sweep], results: str, store: str, address: str | None, retry_failed: bool = False
) -> Ran | None:
    """Check the plan before anything starts, then run the cells that have no row.

    Returns None if there is nothing to do. Raises `BadInput`.
    """
    places = places_for(absolute(store), absolute(results), data_root())
    rows = Results(places.results)
    for sweep in sweeps:
        compacting.recover(rows, sweep.name)
    made = make_plan(sweeps, Store(places.store), rows, retry_failed)
    if not made.cells:
        return None
    check_reachable(address)
    check(made, places.store, places.results)
    print(describe(made, estimate(made)), file=sys.stderr)
    with ray_session(address) as joined, ProgressBars(made) as progress:
        where = f"Ray at {joined}" if joined else "a local Ray"
        print(f"running on {where}", file=sys.stderr)
        return run_plan(made, places, progress, retry_failed, growing=joined is not None)


def check(made: Plan, store: str, results: str) -> None:
    """Raise `BadInput` for missing data, damaged artifacts, or results that cannot be written."""
    for dataset in {sweep.dataset for sweep in made.sweeps}:
        load(dataset, Path(data_root()))
    for recipe in made.reuse:
        Store(store).load(recipe.kind, recipe.key)
    Results(results).check_writable()


def submit(args: argparse.Namespace) -> int:
    """Check the spec on this machine, submit the sweep as a job, and print the job's id."""
    text = yaml.safe_dump_all(documents(args.spec, args.set))
    arguments = ["--results", absolute(args.results), "--store", absolute(args.store)]
    if args.retry_failed:
        arguments.append("--retry-failed")
    job = jobs.submit(args.address, text, arguments)
    print(job)
    head = f" --address {args.address}" if args.address else ""
    for command in ("status", "logs", "stop"):
        print(f"amnesia {command} {job}{head}", file=sys.stderr)
    return 0


def show(args: argparse.Namespace) -> int:
    """Print rows, or with --claims a table of methods."""
    rows = showing.select(
        Results(absolute(args.results)), args.sweep, args.where, args.sort, args.descending
    )
    if args.claims is None:
        print(showing.show(rows, args.by, args.format, args.sort))
        return 0
    require(
        not args.by and args.format == "table",
        "--claims prints a table of its own; leave --by and --format out",
    )
    print(_claims(rows, args.claims))
    return 0


def _claims(rows: pd.DataFrame, columns: list[str]) -> str:
    """Return the table of methods beside original and oracle, as Markdown. Raises `BadInput`."""
    from sweeps.report.claims import markdown  # scipy's statistics take a second to import

    for column in columns:
        showing.check_column(rows, column)
        require(
            is_numeric_dtype(rows[column]),
            f"--claims {column}: only columns of numbers have a mean",
        )
    table = markdown(rows, columns)
    require(
        bool(table),
        "no finished cell to compare; run the sweep, or look at `amnesia show` for what failed",
    )
    return table


def report(args: argparse.Namespace) -> int:
    """Write the HTML page and print its path."""
    from sweeps.report.page import write_report  # matplotlib takes a second to import

    print(write_report(_rows(args), args.sweep, args.out, data_root(), tuple(args.builder)))
    return 0


def _rows(args: argparse.Namespace) -> Results:
    """Open the rows; --store gives the place of their artifacts if these have moved."""
    return Results(absolute(args.results), absolute(args.store) if args.store else None)


def compact(args: argparse.Namespace) -> int:
    """Fold the Parquet files of every sweep; print how many rows each has."""
    for sweep, rows in compacting.compact(Results(absolute(args.results))).items():
        print(f"{sweep}: {rows} rows")
    return 0


def promote(args: argparse.Namespace) -> int:
    """Put a cell's model into the gallery; print its version, and why this cell."""
    gallery = Gallery(absolute(args.gallery))
    made = promoting.promote(
        _rows(args), args.name, gallery, data_root(), args.cell, args.sweep, tuple(args.builder)
    )
    print(f"{made.name} {made.version}: cell {made.row['cell_id']}, {made.why}")
    return 0
