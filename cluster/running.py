"""The commands around a spec: what would run, and running it.

Ray and Ray Tune take seconds to import, so they are imported where something is to be run.
"""

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from cluster.address import address_to_join
from cluster.progress import progress
from sweeps.plan.cost import estimate
from sweeps.plan.describe import describe
from sweeps.plan.networks import check_networks
from sweeps.plan.plan import Plan, make_plan
from sweeps.plan.timings import add_to_calibration
from sweeps.rows.fold import fold_now
from sweeps.rows.results import Results
from sweeps.run.budget import Budget, read_budget
from sweeps.run.places import places_for
from sweeps.spec.files import read_spec, shipped
from sweeps.spec.sweep import Sweep
from unlearn.artifacts import Store
from unlearn.data import load
from unlearn.errors import require
from unlearn.models import library_of

if TYPE_CHECKING:
    from sweeps.run.run import RunResult


def data_root() -> str:
    """Return the folder of data sets: $AMNESIA_DATA, else ~/.cache/amnesia/data."""
    return os.path.expanduser(os.environ.get("AMNESIA_DATA") or "~/.cache/amnesia/data")


def absolute(place: str) -> str:
    """Make a local path absolute; leave a URL as it is."""
    return place if "://" in place else str(Path(place).absolute())


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
        from cluster.nodes import describe_resources

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
) -> tuple[Plan, "RunResult | None"]:
    """Check the plan before anything starts, then run the cells that have no row.

    Returns the plan of what is left, and what ran: None if there was nothing to do. Raises
    `BadInput`.
    """
    places = places_for(absolute(store), absolute(results), data_root())
    rows = Results(places.results)
    for sweep in sweeps:
        if sweep.name in rows.sweeps():
            fold_now(rows, sweep.name)
    made = make_plan(sweeps, Store(places.store), rows, retry_failed)
    if not made.cells:
        return made, None
    from cluster.ray_session import check_reachable, ray_session
    from sweeps.run.run import run as run_plan

    check_reachable(address)
    check(made, places.store, places.results)
    notes = check_networks(made)
    joining = address_to_join(address) is not None
    cost = estimate(made, Store(places.store), rows, joining)
    print("\n".join([describe(made, cost), *notes]), file=sys.stderr)
    libraries = {library_of(model) for sweep in made.sweeps for model in sweep.models}
    with ray_session(address, libraries=libraries) as joined, progress(made) as show:
        where = f"Ray at {joined}" if joined else "a local Ray"
        print(f"running on {where}", file=sys.stderr)
        ran = run_plan(made, places, show, retry_failed, joined is not None, budget)
    return make_plan(sweeps, Store(places.store), rows), ran


def check(made: Plan, store: str, results: str) -> None:
    """Raise `BadInput` for missing data, damaged artifacts, or results that cannot be written."""
    for dataset in {sweep.dataset for sweep in made.sweeps}:
        load(dataset, Path(data_root()))
    for recipe in made.reuse:
        Store(store).load(recipe.kind, recipe.key)
    Results(results).check_writable()
