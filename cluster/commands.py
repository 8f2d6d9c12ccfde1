"""Carry out the sub-commands: each function takes the parsed arguments, returns the exit code."""

import argparse
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
from pandas.api.types import is_numeric_dtype

from cluster import jobs
from cluster.running import absolute, data_root
from sweeps.choose import promote as promoting
from sweeps.report import show as showing
from sweeps.rows import fold as folding
from sweeps.rows.results import Results
from sweeps.run.budget import read_budget
from sweeps.spec.files import read_documents, read_spec
from unlearn.errors import require
from unlearn.gallery import Gallery


def documents(spec: str, changes: list[str]) -> list[dict[str, Any]]:
    """Check a spec, its changes applied, and return it as plain documents."""
    read_spec(spec, changes)
    return read_documents(spec, changes)


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
    # scipy's statistics take a second to import
    from sweeps.choose.summary import DERIVED
    from sweeps.report.claims import markdown

    for column in columns:
        if column in DERIVED:
            continue
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
