"""What each sub-command does, once its arguments are read."""

import argparse
import contextlib
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import yaml
from pandas.api.types import is_numeric_dtype

from cluster import jobs
from cluster.progress import Bar
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
from sweeps.spec.parse import read_documents, read_spec, shipped
from sweeps.spec.sweep import Sweep
from unlearn.artifacts import Gallery, Store
from unlearn.data import load
from unlearn.errors import require


def data_root() -> str:
    """Where data sets lie: $AMNESIA_DATA, else ~/.cache/amnesia/data."""
    return os.environ.get("AMNESIA_DATA") or str(Path.home() / ".cache" / "amnesia" / "data")


def absolute(place: str) -> str:
    """A local path made absolute; a URL as it is."""
    return place if "://" in place else str(Path(place).absolute())


def documents(spec: str, changes: list[str]) -> list[dict[str, Any]]:
    """The checked spec with its changes applied, as plain documents again."""
    read_spec(spec, changes)
    return read_documents(spec, changes)


def plan(args: argparse.Namespace) -> int:
    if args.list or args.spec is None:
        require(args.list, "plan needs a SPEC; `amnesia plan --list` names the shipped ones")
        print("\n".join(shipped()))
        return 0
    store, results = Store(absolute(args.store)), Results(absolute(args.results))
    made = make_plan(read_spec(args.spec, args.set), store, results, args.retry_failed)
    print(describe(made, estimate(made)))
    return 0


def run(args: argparse.Namespace) -> int:
    sweeps = read_spec(args.spec, args.set)
    ran = run_sweeps(sweeps, args.results, args.store, args.address, args.retry_failed)
    if ran is None:
        print("nothing to do: every cell has its row", file=sys.stderr)
    errors = name_errors(sweeps, args.results, args.store)
    if ran is not None and not errors:
        seconds, table = ran.prepare_s + ran.tune_s, Results(absolute(args.results)).table
        print(f"done: {ran.cells} cells in {seconds:.1f} s; rows in {table}", file=sys.stderr)
    return 1 if errors else 0


def name_errors(sweeps: list[Sweep], results: str, store: str) -> bool:
    """Whether rows of these sweeps hold an error, each of them named."""
    errors = make_plan(sweeps, Store(absolute(store)), Results(absolute(results))).errors
    for row in errors:
        how = "failed" if row["status"] == "failed" else "incomplete"
        print(f"{how}: {row['sweep']} {row['cell_id']}: {row['error']}", file=sys.stderr)
    return bool(errors)


def run_sweeps(
    sweeps: list[Sweep], results: str, store: str, address: str | None, retry_failed: bool = False
) -> Ran | None:
    """Check everything that can be checked early, then run what has no row; None where there is nothing to do."""
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
    with ray_session(address) as joined, Bar(made) as bar:
        print(f"running on {f'Ray at {joined}' if joined else 'a local Ray'}", file=sys.stderr)
        return run_plan(made, places, bar, retry_failed, growing=joined is not None)


def check(made: Plan, store: str, results: str) -> None:
    """Refuse what would fail later: missing data, damaged artifacts, a results folder that cannot be written."""
    for dataset in {sweep.dataset for sweep in made.sweeps}:
        load(dataset, Path(data_root()))
    for recipe in made.reuse:
        Store(store).load(recipe.kind, recipe.key)
    Results(results).check_writable()


def submit(args: argparse.Namespace) -> int:
    """Check the spec here, where a mistake costs nothing, then hand it to the cluster."""
    places = {"--results": args.results, "--store": args.store}
    arguments = [part for key, value in places.items() for part in (key, absolute(value))]
    arguments += ["--retry-failed"] if args.retry_failed else []
    job = jobs.submit(args.address, yaml.safe_dump_all(documents(args.spec, args.set)), arguments)
    print(job)
    there = f" --address {args.address}" if args.address else ""
    print(
        "\n".join(f"amnesia {what} {job}{there}" for what in ("status", "logs", "stop")),
        file=sys.stderr,
    )
    return 0


def show(args: argparse.Namespace) -> int:
    rows = showing.select(
        Results(absolute(args.results)), args.sweep, args.where, args.sort, args.descending
    )
    if args.claims is None:
        print(showing.show(rows, args.by, args.format))
        return 0
    from sweeps.report.claims import markdown  # scipy's statistics take a second to import

    require(
        not args.by and args.format == "table",
        "--claims prints a table of its own; leave --by and --format out",
    )
    for column in args.claims:
        showing.check_column(rows, column)
        require(
            is_numeric_dtype(rows[column]),
            f"--claims {column}: only columns of numbers have a mean",
        )
    table = markdown(rows, args.claims)
    require(
        bool(table),
        "no finished cell to speak of; run the sweep, or look at `amnesia show` for what failed",
    )
    print(table)
    return 0


def report(args: argparse.Namespace) -> int:
    from sweeps.report.page import write_report  # matplotlib takes a second to import

    print(write_report(_moved(args), args.sweep, args.out, data_root(), tuple(args.builder)))
    return 0


def _moved(args: argparse.Namespace) -> Results:
    """The rows, and where their artifacts lie now."""
    return Results(absolute(args.results), absolute(args.store) if args.store else None)


def compact(args: argparse.Namespace) -> int:
    for sweep, rows in compacting.compact(Results(absolute(args.results))).items():
        print(f"{sweep}: {rows} rows")
    return 0


def promote(args: argparse.Namespace) -> int:
    gallery = Gallery(absolute(args.gallery))
    made = promoting.promote(
        _moved(args), args.name, gallery, data_root(), args.cell, args.sweep, tuple(args.builder)
    )
    print(f"{made.name} {made.version}: cell {made.row['cell_id']}, {made.why}")
    return 0


def rollback(args: argparse.Namespace) -> int:
    print(f"{args.name} {Gallery(absolute(args.gallery)).rollback(args.name)}")
    return 0


def serve(args: argparse.Namespace) -> int:
    """Until Ctrl-C or SIGTERM."""
    from serve.exposure import prefer_haproxy

    prefer_haproxy(args.host)
    check_reachable(args.address)
    import serve.launch
    from serve.deployments import Settings

    token = os.environ.get("AMNESIA_TOKEN") or None
    settings = Settings(
        absolute(args.gallery), args.host, args.port, token, builders=tuple(args.builder)
    )
    serve.launch.check(settings)
    with (
        ray_session(args.address),
        serve.launch.start(settings) as server,
        contextlib.suppress(KeyboardInterrupt),
    ):
        signal.signal(
            signal.SIGTERM, signal.default_int_handler
        )  # only now: Ray's start takes it for its own
        print(f"serving {settings.gallery} at {server.url} (Ctrl-C stops)", flush=True)
        while True:
            time.sleep(3600)
    return 0


def demo(args: argparse.Namespace) -> int:
    from cluster.demo import run_demo  # imports everything

    return run_demo(Path(args.out), args.port, args.set)
