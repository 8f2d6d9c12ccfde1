"""Carry out the sub-commands: each function takes the parsed arguments, returns the exit code."""

import argparse
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
from pandas.api.types import is_numeric_dtype

from cluster import jobs
from cluster.nodes import describe_resources
from cluster.progress import progress
from cluster.ray_session import check_reachable, ray_session
from sweeps.choose import promote as promoting
from sweeps.plan.cost import describe, estimate
from sweeps.plan.networks import check_networks
from sweeps.plan.plan import Plan, make_plan
from sweeps.plan.timings import add_to_calibration
from sweeps.report import show as showing
from sweeps.rows import fold as folding
from sweeps.rows.results import Results
from sweeps.run.budget import Budget, read_budget
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
    return os.path.expanduser(os.environ.get("AMNESIA_DATA") or "~/.cache/amnesia/data")


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
    lines = [describe(made, estimate(made, store, results))]
    if made.work:
        lines.append(describe_resources(made, args.address))
    print("\n".join([*lines, *check_networks(made)]))
    return 0


def run(args: argparse.Namespace) -> int:
    """Run a sweep; name every cell that has an error."""
    sweeps = read_spec(args.spec, args.set)
    budget = read_budget(args.budget) if args.budget else None
    made, ran = run_sweeps(
        sweeps, args.results, args.store, args.address, args.retry_failed, budget
    )
    if ran is None:
        print("nothing to do: every cell has its row", file=sys.stderr)
    elif ran.left:
        print(
            f"stopped by --budget {args.budget}: {ran.left} of {ran.cells} cells are left; "
            "the same command goes on",
            file=sys.stderr,
        )
    errors = print_errors(made, args.store)
    if ran is not None and not errors and not ran.left:
        seconds, table = ran.prepare_s + ran.tune_s, Results(absolute(args.results)).table
        print(f"done: {ran.cells} cells in {seconds:.1f} s; rows in {table}", file=sys.stderr)
    return 1 if errors else 0


def print_errors(made: Plan, store: str) -> bool:
    """Print the error of every planned cell that has one; tell whether there is any.

    Adds what the rows took to the store's calibration file, for sweeps with other results.
    """
    add_to_calibration(Store(absolute(store)), made.rates)
    for row in made.errors:
        how = "failed" if row["status"] == "failed" else "incomplete"
        print(f"{how}: {row['sweep']} {row['cell_id']}: {row['error']}", file=sys.stderr)
    return bool(made.errors)


def run_sweeps(
    sweeps: list[Sweep],
    results: str,
    store: str,
    address: str | None,
    retry_failed: bool = False,
    budget: Budget | None = None,
) -> tuple[Plan, Ran | None]:
    """Check the plan before anything starts, then run the cells that have no row.

    Returns the plan of what is left, and what ran: None if there was nothing to do. Raises
    `BadInput`.
    """
    places = places_for(absolute(store), absolute(results), data_root())
    rows = Results(places.results)
    for sweep in sweeps:
        if sweep.name in rows.sweeps():
            folding.fold_now(rows, sweep.name)
    made = make_plan(sweeps, Store(places.store), rows, retry_failed)
    if not made.cells:
        return made, None
    check_reachable(address)
    check(made, places.store, places.results)
    notes = check_networks(made)
    joining = bool(address or os.environ.get("RAY_ADDRESS"))
    cost = estimate(made, Store(places.store), rows, joining)
    print("\n".join([describe(made, cost), *notes]), file=sys.stderr)
    with ray_session(address) as joined, progress(made) as show:
        where = f"Ray at {joined}" if joined else "a local Ray"
        print(f"running on {where}", file=sys.stderr)
        growing = joined is not None
        ran = run_plan(made, places, show, retry_failed, growing, budget)
    return make_plan(sweeps, Store(places.store), rows), ran


def check(made: Plan, store: str, results: str) -> None:
    """Raise `BadInput` for missing data, damaged artifacts, or results that cannot be written."""
    for dataset in {sweep.dataset for sweep in made.sweeps}:
        load(dataset, Path(data_root()))
    for recipe in made.reuse:
        Store(store).load(recipe.kind, recipe.key)
    Results(results).check_writable()


def submit(args: argparse.Namespace) -> int:
    """Check the spec on this machine, submit the sweep as a job, and print the job's id.

    With --follow, print what the job prints and return its exit code.
    """
    results = absolute(args.results)
    arguments = ["--results", results, "--store", absolute(args.store)]
    if args.retry_failed:
        arguments.append("--retry-failed")
    if args.budget:
        read_budget(args.budget)
        arguments += ["--budget", args.budget]
    folders = tuple(Path(folder) for folder in getattr(args, "with"))
    with importable(folders):  # builders of the user's own
        checked = documents(args.spec, args.set)
    submission = jobs.Submission(checked, arguments, args.name, tuple(args.env), folders, results)
    where = jobs.address_of(args.address)
    print(f"shipping to {where}: {'; '.join(submission.shipped())}", file=sys.stderr)
    job = jobs.submit(where, submission)
    print(job, flush=True)
    for command in ("status", "logs", "stop"):
        print(f"amnesia {command} {job} --address {where}", file=sys.stderr)
    return jobs.follow(where, job) if args.follow else 0


@contextmanager
def importable(folders: Iterable[Path]) -> Iterator[None]:
    """Import from the folders too, as the job will from its working directory."""
    before = list(sys.path)
    sys.path += [str(folder.absolute()) for folder in folders]
    try:
        yield
    finally:
        sys.path[:] = before


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


def watch(args: argparse.Namespace) -> int:
    """Show how far the sweeps are; refresh in place on a terminal until nothing is left."""
    from sweeps.report import watch as watching

    results = Results(absolute(args.results))
    if args.json:
        print(watching.as_json(watching.look(results, args.sweep)))
    else:
        watching.watch(results, args.sweep)
    return 0


def columns(args: argparse.Namespace) -> int:
    """Print what the dictionary says of some columns; without names, a line for every column."""
    from sweeps.rows.columns import COLUMNS, lookup_columns
    from sweeps.rows.reference import describe

    if args.names:
        print("\n".join(map(describe, lookup_columns(args.names))))
        return 0
    width = max(map(len, COLUMNS))
    for name, entry in COLUMNS.items():
        print(f"{name:{width}}  {entry.meaning}")
    return 0


def studies(args: argparse.Namespace) -> int:
    """Write the searches as Optuna studies; print their names."""
    from sweeps.plan.studies import write_studies

    written = write_studies(Results(absolute(args.results)), args.sweep, args.out)
    print("\n".join(written))
    print(f"{len(written)} studies; optuna-dashboard sqlite:///{args.out}", file=sys.stderr)
    return 0


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
    for sweep, rows in folding.compact(Results(absolute(args.results))).items():
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
