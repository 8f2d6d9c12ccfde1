"""The `amnesia` command: its arguments, and its exit codes."""

import argparse
import os
import sys
from collections.abc import Callable
from importlib import import_module
from typing import NoReturn

from cluster.signals import interruptible
from unlearn.errors import BadInput

JOBS_API = "the cluster's Jobs API (default: $RAY_API_SERVER_ADDRESS, else this machine's)"
RAY = "a Ray to join (default: $RAY_ADDRESS, else a local one)"
SET = "change a key of the spec, as in train.steps=300"

ROWS_KEPT = "; finished cells are kept, and the same command continues there"
NOTICES = {  # handler -> told when a signal ends it
    "running.run": ROWS_KEPT,
    "demo.demo": ROWS_KEPT,
    "commands.submit": "; a job that was submitted goes on",
}

Command = Callable[[argparse.Namespace], int]
AddCommand = Callable[[str, str, str], argparse.ArgumentParser]  # name, handler, help text


def entry(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code.

    0: done. 1: some cells failed. 2: wrong input, one line on stderr says why. 130: Ctrl-C. 143:
    SIGTERM. 129: SIGHUP.
    """
    args = parser().parse_args(arguments)
    try:
        with interruptible(NOTICES.get(args.handler, "")) as interruption:
            return handler(args)(args)
    except BadInput as error:
        print(f"amnesia: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"\n{interruption.line}", file=sys.stderr)
        return interruption.exit_code
    except BrokenPipeError:  # the reader closed the pipe, as in `amnesia show ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def console() -> NoReturn:
    """Run one command and end this process with its exit code.

    After a signal the interpreter is not taken down in order: that takes seconds with torch and Ray
    loaded, and a scheduler may leave ten in all.
    """
    code = entry()
    if code > 128:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def handler(args: argparse.Namespace) -> Command:
    """Import the function that carries out the command.

    It is imported only now, because torch takes seconds, and help or a job's status need no torch.
    """
    module, _, name = args.handler.partition(".")
    command: Command = getattr(import_module(f"cluster.{module}"), name)
    return command


def parser() -> argparse.ArgumentParser:
    """Build the parser of all sub-commands and their options."""
    top = argparse.ArgumentParser(
        prog="amnesia",
        description="Sweeps for machine unlearning: plan, run, look, promote, serve.",
    )
    subparsers = top.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, handler: str, text: str) -> argparse.ArgumentParser:
        made = subparsers.add_parser(name, help=text, description=text)
        made.set_defaults(handler=handler)
        return made

    _sweep_commands(command)
    _job_commands(command)
    _row_commands(command)
    _gallery_commands(command)
    return top


def _add_spec(made: argparse.ArgumentParser, optional: bool = False) -> None:
    made.add_argument(
        "spec", nargs="?" if optional else None, help="a YAML file, or the name of a shipped spec"
    )
    made.add_argument(
        "--results", default="results", help="folder or URL of the rows (default: results)"
    )
    made.add_argument(
        "--store", default="store", help="folder or URL of shared artifacts (default: store)"
    )
    _add_set(made, SET)
    made.add_argument(
        "--retry-failed", action="store_true", help="run cells again whose row holds an error"
    )


def _add_set(made: argparse.ArgumentParser, text: str) -> None:
    made.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help=text)


def _sweep_commands(command: AddCommand) -> None:
    made = command("plan", "running.plan", "what would run, what is cached, what it costs")
    _add_spec(made, optional=True)
    made.add_argument("--list", action="store_true", help="list the shipped specs")
    made.add_argument(
        "--address",
        help="compare with the nodes of this Ray (default: $RAY_ADDRESS, else this machine)",
    )
    made = command("run", "running.run", "run a sweep; finished cells are never run again")
    _add_spec(made)
    made.add_argument("--address", help=RAY)
    made.add_argument(
        "--budget", help="stop in good order after 90s, 45m, 1.5h or 500cells; the next run goes on"
    )
    made = command(
        "demo", "demo.demo", "sweep, report, promote and serve, on real digits that are installed"
    )
    _add_set(made, SET)
    made.add_argument(
        "--out", default="demo", help="folder for everything that it makes (default: demo)"
    )
    made.add_argument(
        "--port", type=int, default=0, help="port of its server (default: any free one)"
    )


def _job_commands(command: AddCommand) -> None:
    made = command("submit", "commands.submit", "run a sweep as a job of a Ray cluster")
    _add_spec(made)
    made.add_argument("--address", help=JOBS_API)
    made.add_argument(
        "--follow",
        action="store_true",
        help="print what the job prints until it ends; the exit code is the job's",
    )
    made.add_argument("--budget", help="passed on to `amnesia run`, as in 45m")
    made.add_argument("--name", help="the job's id (default: one that Ray makes up)")
    made.add_argument(
        "--env",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a variable of the job's processes; KEY alone passes on its value here",
    )
    made.add_argument(
        "--with",
        action="append",
        default=[],
        metavar="FOLDER",
        help="a folder of your own builders and weights that the job carries",
    )
    texts = {"status": "a job's status", "logs": "what a job printed", "stop": "stop a job"}
    for name, text in texts.items():
        made = command(name, f"jobs.{name}", text)
        made.add_argument("job", help="the job's id, which `amnesia submit` printed")
        made.add_argument("--address", help=JOBS_API)


def _row_commands(command: AddCommand) -> None:
    _add_show(command)
    made = command("watch", "commands.watch", "cells done, failed, left, ETA, best by val so far")
    _add_rows(made)
    made.add_argument("--json", action="store_true", help="one JSON document, for a script")
    made = command("studies", "commands.studies", "the searches as Optuna studies, in one file")
    _add_rows(made)
    made.add_argument("-o", "--out", default="studies.db", help="file (default: studies.db)")
    made = command("columns", "commands.columns", "what the columns of a row mean")
    made.add_argument("names", nargs="*", metavar="NAME", help="a column, or a pattern: 'val_*'")
    made = command(
        "report", "commands.report", "one HTML page: pictures, Pareto fronts, curves, tables"
    )
    _add_rows(made)
    made.add_argument("-o", "--out", default="report.html", help="file (default: report.html)")
    _add_store(made)
    _add_builders(made)
    made = command("compact", "commands.compact", "fold and repair the rows; a run folds by itself")
    made.add_argument("results", help="folder of the rows")


def _add_show(command: AddCommand) -> None:
    made = command("show", "commands.show", "rows as a table, CSV or JSON")
    _add_rows(made)
    made.add_argument("--by", metavar="COL", help="means over groups with the same value of COL")
    made.add_argument("--sort", metavar="COL", help="sort by a column, smallest first")
    made.add_argument("--descending", action="store_true", help="sort largest first")
    made.add_argument(
        "--where", metavar="EXPR", help="a pandas query, as in 'lam > 10 and seed == 0'"
    )
    made.add_argument("--format", default="table", help="table (default), csv or json")
    made.add_argument(
        "--claims",
        nargs="*",
        metavar="COL",
        help="methods beside original and oracle, as a Markdown table: mean [95 %% interval] of "
        "the cells that val chooses",
    )


def _gallery_commands(command: AddCommand) -> None:
    made = command(
        "promote",
        "commands.promote",
        "put the model of the best cell, or of a given one, into the gallery",
    )
    made.add_argument("results", help="folder or URL of the rows")
    made.add_argument("name", help="the model's name in the gallery")
    made.add_argument("--cell", help="a cell_id (default: the best by val, with the reason)")
    made.add_argument("--sweep", help="choose among this sweep's cells")
    made.add_argument("--gallery", required=True, help="folder or URL of the gallery")
    _add_store(made)
    _add_builders(made)
    made = command("rollback", "serving.rollback", "serve the previous version again")
    made.add_argument("name", help="the model's name in the gallery")
    made.add_argument("--gallery", required=True, help="folder or URL of the gallery")
    made = command(
        "serve", "serving.serve", "serve a gallery over HTTP; the token is $AMNESIA_TOKEN"
    )
    made.add_argument("--gallery", required=True, help="folder or URL of the gallery")
    made.add_argument(
        "--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1)"
    )
    made.add_argument("--port", type=int, default=8000, help="port to listen on (default: 8000)")
    made.add_argument(
        "--replicas",
        metavar="N|MIN:MAX",
        help="HTTP replicas: a number, or scaled by load (default: 1)",
    )
    made.add_argument("--cpus", type=float, help="CPUs per replica that runs models (default: 0.5)")
    made.add_argument("--gpus", type=float, help="GPUs per replica that runs models (default: 0)")
    made.add_argument(
        "--placement",
        help="where models run: inline (in the HTTP replicas), pool (in replicas of their own), or "
        "auto (default: pool with --gpus, else inline)",
    )
    made.add_argument(
        "--print-config",
        action="store_true",
        help="print a config file for `serve deploy` or a RayService, and start nothing",
    )
    _add_builders(made)
    made.add_argument(
        "--allow-origin",
        action="append",
        default=[],
        metavar="ORIGIN",
        help="let pages of https://host:port call the service from a browser; * for all",
    )
    made.add_argument("--address", help=RAY)


def _add_rows(made: argparse.ArgumentParser) -> None:
    made.add_argument("results", help="folder or URL of the rows")
    made.add_argument("--sweep", help="only this sweep's rows")


def _add_store(made: argparse.ArgumentParser) -> None:
    made.add_argument(
        "--store",
        help="folder or URL of the artifacts, if not where the rows say",
    )


def _add_builders(made: argparse.ArgumentParser) -> None:
    """Add --builder: rows and cards can come from others, so the user allows code by name."""
    made.add_argument(
        "--builder",
        action="append",
        default=[],
        metavar="MODULE:NAME",
        help="a model builder, or a data set's loader, of your own that may be called",
    )
