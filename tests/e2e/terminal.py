"""A process that runs `amnesia` commands one after another, as a person at a terminal does.

Importing torch and starting a Ray with its workers take longer than most commands; here they are
paid for once. `Terminal` is the end that a test holds. The process itself,

    python -m tests.e2e.terminal [--ray]

answers each command on a line of JSON. With `--ray` all commands share one local Ray of one CPU: a
second worker would take longer to import torch than the tests' cells take. Without, no command may
start one.
"""

import contextlib
import functools
import json
import os
import select
import signal
import subprocess
import sys
import traceback
from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from unittest import mock

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Ended:
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Command:
    """A command on its way to the process; it prints into two files."""

    arguments: tuple[str, ...]
    cwd: str
    out: str
    err: str


class Terminal:
    """Runs commands in a process of its own."""

    def __init__(self, scratch: Path, environment: dict[str, str], ray: bool) -> None:
        self.scratch = scratch
        self.log = scratch / "log"
        program = [sys.executable, "-m", "tests.e2e.terminal", *(["--ray"] if ray else [])]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                program,
                cwd=ROOT,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        assert self.answer(timeout=300) == "ready\n"

    def run(self, *arguments: str, cwd: Path, timeout: float = 900) -> Ended:
        """Run `amnesia ARGUMENTS` in `cwd`, to its end."""
        out, err = self.scratch / "out", self.scratch / "err"
        command = Command(arguments, str(cwd), str(out), str(err))
        assert self.process.stdin is not None
        print(json.dumps(asdict(command)), file=self.process.stdin, flush=True)
        code = int(self.answer(timeout))
        return Ended(code, out.read_text(), err.read_text())

    def answer(self, timeout: float) -> str:
        """The next line that the process answers."""
        answers = self.process.stdout
        assert answers is not None
        ready, _, _ = select.select([answers], [], [], timeout)
        line = answers.readline() if ready else ""
        assert line, f"no answer within {timeout:.0f} s:\n{self.log.read_text()}"
        return line

    def close(self) -> None:
        """End the process, and its Ray."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        try:
            self.process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.stdout.close()


def main() -> None:
    answers = sys.stdout
    sys.stdout = sys.stderr  # whatever is printed between two commands
    with contextlib.ExitStack() as ending:
        if "--ray" in sys.argv:
            ending.enter_context(shared_ray())
        print("ready", file=answers, flush=True)
        for line in sys.stdin:
            print(run(Command(**json.loads(line))), file=answers, flush=True)


@contextlib.contextmanager
def shared_ray() -> Iterator[None]:
    """A local Ray as `amnesia run` starts it, but of one CPU; later commands join it."""
    import ray

    from cluster import ray_session

    @contextlib.contextmanager
    def joined(
        address: str | None, service: bool = False, libraries: Collection[str] = ()
    ) -> Iterator[str | None]:
        yield None

    with contextlib.ExitStack() as running:
        with mock.patch.object(ray, "init", functools.partial(ray.init, num_cpus=1)):
            running.enter_context(ray_session.ray_session(None))
        ray_session.ray_session = joined
        yield


def run(command: Command) -> int:
    """The command's exit code; 70 where it let an exception out."""
    from cluster.main import entry

    with (
        open(command.out, "w") as out,
        open(command.err, "w") as err,
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        contextlib.chdir(command.cwd),
    ):
        try:
            return entry(list(command.arguments))
        except SystemExit as end:
            return int(end.code or 0)
        except BaseException:
            traceback.print_exc()
            return 70


if __name__ == "__main__":
    main()
