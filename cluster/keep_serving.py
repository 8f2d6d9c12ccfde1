"""Wait for the end of a service that runs, in place of the process that started it.

    python -I -S keep_serving.py FOLDER PID...

`amnesia serve` becomes this once its local Ray serves: Ray's processes stay its children, and it
takes 7 MB instead of 110, since it imports the standard library only. It waits for SIGINT, SIGTERM,
SIGHUP, or for the end of a process of Ray's head (PID...). Then HAProxy, whose files are in FOLDER,
answers the requests that it holds, and Ray ends.
"""

import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
WAITED = (*ENDS, signal.SIGCHLD)
HEAD = ("gcs_server", "raylet")
STOPPED = "stopped"  # a file that tells the guards of HAProxy that its end is meant
ANSWER_S = 2.0  # for the requests that HAProxy holds
END_S = 4.0  # for Ray's processes to end in order
TICK_S = 0.02


def become_this(folder: str, head: Sequence[int]) -> NoReturn:
    """Run this file in place of the calling program, which must be in its main thread.

    Signals that arrive in between are kept until it waits for them.

    folder: where HAProxy's files are
    head: the processes without which the service is over; children of this one
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, WAITED)
    pids = [str(pid) for pid in head]
    os.execv(sys.executable, [sys.executable, "-I", "-S", __file__, folder, *pids])


def head_of_ray() -> list[int]:
    """Return the processes of a local Ray's head that this one has started."""
    found = descendants(os.getpid())
    return [pid for pid, name in found.items() if name in HEAD and _parent(pid) == os.getpid()]


def wait(head: set[int]) -> int:
    """Return the signal that ends the service; SIGCHLD where a process of its head has ended.

    Other children may end: where this is process 1 of a container, all orphans become its children.
    """
    ignored = {number for number in ENDS if signal.getsignal(number) == signal.SIG_IGN}
    while True:
        if head & set(_reap()):  # also those that ended before this program began
            return signal.SIGCHLD
        number = signal.sigtimedwait(set(WAITED) - ignored, 3600)
        if number is not None and number.si_signo in ENDS:
            return number.si_signo


def _reap() -> Iterator[int]:
    """Yield the children that have ended."""
    with suppress(ChildProcessError):  # there are none
        while (pid := os.waitpid(-1, os.WNOHANG)[0]) != 0:
            yield pid


def descendants(root: int) -> dict[int, str]:
    """Return pid -> name of the processes below one that are alive, parents first."""
    children: dict[int, list[int]] = {}
    names = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            head, _, tail = (entry / "stat").read_text().rpartition(")")
        except OSError:  # it has just ended
            continue
        state, parent = tail.split()[:2]
        if state != "Z":
            names[int(entry.name)] = head.partition("(")[2]
            children.setdefault(int(parent), []).append(int(entry.name))
    found, left = {}, [root]
    while left:
        below = children.get(left.pop(0), [])
        found.update({pid: names[pid] for pid in below})
        left += below
    return found


def end(processes: set[int], number: signal.Signals, seconds: float) -> set[int]:
    """Send a signal, wait for the processes to end, and return those that did not in time.

    A second Ctrl-C ends the waiting.
    """
    for pid in processes:
        with suppress(ProcessLookupError):
            os.kill(pid, number)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        alive = processes & set(descendants(os.getpid()))
        again = signal.sigtimedwait({signal.SIGINT}, TICK_S) if alive else None
        if not alive or again is not None:
            return alive
    return processes & set(descendants(os.getpid()))


def stop(folder: Path) -> None:
    """End HAProxy when it has answered, then Ray."""
    if folder.is_dir():
        (folder / STOPPED).touch()
    all_of_them = descendants(os.getpid())
    end({pid for pid, name in all_of_them.items() if name == "haproxy"}, signal.SIGUSR1, ANSWER_S)
    head = {pid: name for pid, name in all_of_them.items() if _parent(pid) == os.getpid()}
    store = {pid for pid, name in head.items() if name == "gcs_server"}  # the raylet leaves there
    end(set(head) - store, signal.SIGTERM, END_S)
    end(store, signal.SIGTERM, END_S)
    left = {pid for pid, name in all_of_them.items() if _name(pid) == name}
    end(left | set(descendants(os.getpid())), signal.SIGKILL, END_S)
    shutil.rmtree(folder, ignore_errors=True)


def _name(pid: int) -> str | None:
    """Return the name of a process; None if it has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[0].partition("(")[2]
    except OSError:
        return None


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def main(folder: str, *head: str) -> int:
    """Wait, stop the service, say why in one line, and return the exit code."""
    number = wait({int(pid) for pid in head})
    stop(Path(folder))
    if number == signal.SIGCHLD:
        print("amnesia: the service's Ray has ended; start it again", file=sys.stderr)
        return 1
    how = "interrupted" if number == signal.SIGINT else f"ended by {signal.Signals(number).name}"
    print(f"\namnesia: {how}", file=sys.stderr)
    return 128 + number


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
