"""The `amnesia` command."""

import argparse
import os
import sys
from collections.abc import Callable
from importlib import import_module

from unlearn.errors import BadInput

JOBS_API = "the cluster's Jobs API (default: $RAY_API_SERVER_ADDRESS, else this machine's)"


def entry(arguments: list[str] | None = None) -> int:
    """Exit code 0 = done, 1 = some cells failed, 2 = wrong input (one line on stderr), 130 = interrupted."""
    args = parser().parse_args(arguments)
    try:
        return handler(args)(args)
    except BadInput as error:
        print(f"amnesia: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(
            "\namnesia: interrupted; finished cells are kept, the same command goes on from there",
            file=sys.stderr,
        )
        return 130
    except BrokenPipeError:  # `amnesia show ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def handler(args: argparse.Namespace) -> Callable[[argparse.Namespace], int]:
    """What the command does, imported only now: torch takes seconds, and help or a job's status has no use for it."""
    module, _, name = args.handler.partition(".")
    return getattr(import_module(f"cluster.{module}"), name)


def parser() -> argparse.ArgumentParser:
    """All sub-commands and their options."""
    top = argparse.ArgumentParser(
        prog="amnesia",
        description="Sweeps for machine unlearning: plan, run, look, promote, serve.",
    )
    commands_of = top.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, handler: str, text: str) -> argparse.ArgumentParser:
        made = commands_of.add_parser(name, help=text, description=text)
        made.set_defaults(handler=handler)
        return made

    _sweep_commands(command)
    _job_commands(command)
    _row_commands(command)
    _gallery_commands(command)
    return top


def _spec(made: argparse.ArgumentParser, optional: bool = False) -> None:
    made.add_argument(
        "spec", nargs="?" if optional else None, help="a YAML file, or the name of a shipped spec"
    )
    made.add_argument(
        "--results", default="results", help="folder or URL of the rows (default: results)"
    )
    made.add_argument(
        "--store", default="store", help="folder or URL of shared artifacts (default: store)"
    )
    made.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change a key, as in train.steps=300",
    )
    made.add_argument(
        "--retry-failed", action="store_true", help="run cells again whose row holds an error"
    )


def _sweep_commands(command: Callable[..., argparse.ArgumentParser]) -> None:
    made = command("plan", "commands.plan", "what would run, what is cached, what it costs")
    _spec(made, optional=True)
    made.add_argument("--list", action="store_true", help="list the shipped specs")
    made = command("run", "commands.run", "run a sweep; finished cells are never run again")
    _spec(made)
    made.add_argument("--address", help="a Ray to join (default: $RAY_ADDRESS, else a local one)")
    made = command(
        "demo", "commands.demo", "the whole story on real digits that come with the installation"
    )
    made.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="change a key of its spec"
    )
    made.add_argument(
        "--out", default="demo", help="folder for everything it makes (default: demo)"
    )
    made.add_argument(
        "--port", type=int, default=0, help="port for its server (default: any free one)"
    )


def _job_commands(command: Callable[..., argparse.ArgumentParser]) -> None:
    made = command("submit", "commands.submit", "run a sweep as a job of a Ray cluster")
    _spec(made)
    made.add_argument("--address", help=JOBS_API)
    for name, text in (
        ("status", "how a job is"),
        ("logs", "what a job printed"),
        ("stop", "stop a job"),
    ):
        made = command(name, f"jobs.{name}", text)
        made.add_argument("job")
        made.add_argument("--address", help=JOBS_API)


def _row_commands(command: Callable[..., argparse.ArgumentParser]) -> None:
    made = command("show", "commands.show", "rows as a table, CSV or JSON")
    made.add_argument("results")
    made.add_argument("--sweep", help="one sweep's rows")
    made.add_argument("--by", metavar="COL", help="means over groups of this column")
    made.add_argument("--sort", metavar="COL", help="sort by a column, upwards")
    made.add_argument("--descending", action="store_true", help="sort downwards")
    made.add_argument(
        "--where", metavar="EXPR", help="a pandas query, as in 'lam > 10 and seed == 0'"
    )
    made.add_argument("--format", default="table", help="table (default), csv or json")
    made.add_argument(
        "--claims",
        nargs="*",
        metavar="COL",
        help="methods beside original and oracle: mean [95 %% interval] of the cells that val chooses, as Markdown",
    )
    made = command(
        "report", "commands.report", "one HTML page: pictures, Pareto fronts, curves, tables"
    )
    made.add_argument("results")
    made.add_argument("-o", "--out", default="report.html")
    made.add_argument("--sweep", help="one sweep's rows")
    _store(made)
    _builders(made)
    made = command("compact", "commands.compact", "fold many small Parquet files into few")
    made.add_argument("results")


def _gallery_commands(command: Callable[..., argparse.ArgumentParser]) -> None:
    made = command(
        "promote",
        "commands.promote",
        "put the best cell's model, or a given cell's, into the gallery",
    )
    made.add_argument("results")
    made.add_argument("name", help="the model's name in the gallery")
    made.add_argument("--cell", help="a cell_id (default: the best by val, and it says why)")
    made.add_argument("--sweep", help="choose among this sweep's cells")
    made.add_argument("--gallery", required=True, help="folder or URL of the gallery")
    _store(made)
    _builders(made)
    made = command("rollback", "commands.rollback", "serve the version before again")
    made.add_argument("name")
    made.add_argument("--gallery", required=True)
    made = command(
        "serve", "commands.serve", "serve a gallery over HTTP; the token is $AMNESIA_TOKEN"
    )
    made.add_argument("--gallery", required=True)
    made.add_argument("--host", default="127.0.0.1")
    made.add_argument("--port", type=int, default=8000)
    _builders(made)
    made.add_argument("--address", help="a Ray to join (default: $RAY_ADDRESS, else a local one)")


def _store(made: argparse.ArgumentParser) -> None:
    made.add_argument(
        "--store", help="folder or URL of the artifacts, if no longer where the rows say"
    )


def _builders(made: argparse.ArgumentParser) -> None:
    """Rows and cards come from elsewhere: whose code may run is said by who runs it."""
    made.add_argument(
        "--builder",
        action="append",
        default=[],
        metavar="MODULE:NAME",
        help="a builder of your own that may be called",
    )
