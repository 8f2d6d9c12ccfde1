"""Start HAProxy for Ray Serve, and keep its port answered when HAProxy or its keeper is killed.

    python -I -S haproxy_guard.py BINARY METRICS_PORT STATISTICS_PORT -db -f CONFIG ...

Ray Serve calls this in place of HAProxy. This process becomes HAProxy, since Ray knows it by its
pid. A child of it, the guard, waits for deaths:

HAProxy dies: Ray notices after three failed checks of its health, and needs some seconds more to
start another keeper with another HAProxy. The guard starts a spare HAProxy at once.
The keeper dies: HAProxy goes on, and so does Ray, which starts another keeper.
Ray's raylet dies: the service is over, and the guard ends what it guards.

The HAProxy of the next keeper takes the listening sockets over as soon as it knows a replica, so
that no connection is refused, and asks the one before to end. This file imports the standard
library only: a guard takes 7 MB.
"""

import os
import re
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

STOPPED = "stopped"  # a file beside the folders of HAProxy's nodes: the service ends, start nothing
ORPHAN_S = 120.0  # how long a HAProxy without a keeper waits for the next one
SPARES = 5  # a spare that dies is replaced so often
SOCKET = re.compile(r"(?<=stats socket )\S+")


@dataclass(frozen=True)
class Home:
    """The folder in which Ray keeps the files of one node's HAProxy.

    folder: where it is
    """

    folder: Path

    @property
    def spare_config(self) -> Path:
        return self.folder / "spare.cfg"

    @property
    def spare_socket(self) -> Path:
        return self.folder / "spare.sock"

    @property
    def stopped(self) -> bool:
        """Tell whether the service ends: nothing needs to be answered any more."""
        return not self.folder.is_dir() or (self.folder.parent / STOPPED).exists()

    def newest(self) -> tuple[int, str] | None:
        """Return the pid and the admin socket of the HAProxy that was last started to serve."""
        try:
            pid, socket = (self.folder / "newest").read_text().split()
        except (OSError, ValueError):
            return None
        return int(pid), socket

    def serving(self, options: list[str]) -> tuple[int, str] | None:
        """Return the same of the HAProxy that serves; None if Ray's `options` name it already."""
        newest = self.newest()
        if newest is None or str(newest[0]) in options or not is_haproxy(newest[0]):
            return None
        return newest

    def note(self, pid: int, socket: str) -> None:
        """Write down which HAProxy was last started to serve."""
        file = self.folder / f"newest.{pid}"
        file.write_text(f"{pid} {socket}\n")
        file.replace(self.folder / "newest")

    def write_spare_config(self, config: Path) -> None:
        """Copy the config, with another admin socket: at its own, Ray must find HAProxy dead."""
        text = SOCKET.sub(str(self.spare_socket), config.read_text(), count=1)
        self.spare_config.write_text(text)


def to_loopback(text: str, metrics: str, statistics: str) -> str:
    """Move the statistics and the metrics to the loopback; Ray's template has every interface."""
    text = re.sub(rf"bind :{metrics}$", f"bind 127.0.0.1:{metrics}", text, flags=re.MULTILINE)
    pattern = rf"bind \*:{statistics}$"
    return re.sub(pattern, f"bind 127.0.0.1:{statistics}", text, flags=re.MULTILINE)


def knows_servers(text: str) -> bool:
    """Tell whether a config has any replica to send requests to."""
    return re.search(r"^ +server ", text, flags=re.MULTILINE) is not None


def admin_socket_only(text: str) -> str:
    """Return a config that listens at its admin socket only: its first section."""
    return re.split(r"^defaults\b", text, maxsplit=1, flags=re.MULTILINE)[0]


def with_takeover(options: list[str], pid: int, socket: str) -> list[str]:
    """Have HAProxy take the listening sockets over from a process, which then ends."""
    taken = list(options)
    if "-x" in taken:
        taken[taken.index("-x") + 1] = socket
    else:
        taken += ["-x", socket]
    if "-sf" in taken:
        taken.insert(taken.index("-sf") + 1, str(pid))
    else:
        taken += ["-sf", str(pid)]
    return taken


def is_haproxy(pid: int) -> bool:
    """Tell whether a process lives and is a HAProxy: its number may have been given again."""
    try:
        name = Path(f"/proc/{pid}/comm").read_text().strip()
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return name == "haproxy" and state != "Z"


def parent_of(pid: int) -> int:
    """Return the parent of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[1])


def send(pid: int, number: signal.Signals) -> None:
    """Send a signal to a process that may be gone."""
    with suppress(ProcessLookupError):
        os.kill(pid, number)


class Guard:
    """Waits for deaths.

    binary: HAProxy
    config: its config file
    pid: the HAProxy to guard
    haproxy, keeper, raylet: file descriptors that become readable when these die
    """

    def __init__(
        self, binary: str, config: Path, pid: int, haproxy: int, keeper: int, raylet: int
    ) -> None:
        self._binary = binary
        self._config = config
        self._home = Home(config.parent)
        self._pid = pid
        self._haproxy = haproxy
        self._keeper = keeper
        self._raylet = raylet
        self._deadline = float("inf")

    def run(self) -> None:
        """Wait until nothing is left to guard."""
        for _ in range(SPARES + 1):
            if not self._wait():
                send(self._pid, signal.SIGTERM)
                return
            newest = self._home.newest()
            if self._home.stopped or newest is None or newest[0] != self._pid:
                return
            self._start_spare()

    def _wait(self) -> bool:
        """Wait for HAProxy's end; False where it should end, since nobody keeps it any more."""
        watched = {self._haproxy, self._raylet}
        if self._deadline == float("inf"):
            watched.add(self._keeper)
        while time.monotonic() < self._deadline:
            left = min(self._deadline - time.monotonic(), 3600.0)
            dead, _, _ = select.select(watched, [], [], left)
            if self._haproxy in dead:
                return True
            if self._raylet in dead:
                return False
            if self._keeper in dead:
                watched.remove(self._keeper)
                self._deadline = time.monotonic() + ORPHAN_S
        return False

    def _start_spare(self) -> None:
        self._home.write_spare_config(self._config)
        command = [self._binary, "-db", "-f", str(self._home.spare_config)]
        spare = subprocess.Popen(command)
        self._pid = spare.pid
        self._home.note(spare.pid, str(self._home.spare_socket))
        os.close(self._haproxy)
        self._haproxy = os.pidfd_open(spare.pid)


def main(binary: str, metrics: str, statistics: str, *given: str) -> None:
    """Prepare the config, leave a guard behind, and become HAProxy."""
    options = list(given)
    if "-f" not in options:  # as to ask for its version
        os.execv(binary, [binary, *options])
    config = Path(options[options.index("-f") + 1])
    text = to_loopback(config.read_text(), metrics, statistics)
    home, pid = Home(config.parent), os.getpid()
    serving, knows = home.serving(options), knows_servers(text)
    if serving is not None and knows:
        options = with_takeover(options, *serving)
    elif serving is not None:  # the keeper is new, and has yet to be told of the replicas
        text = admin_socket_only(text)
    config.write_text(text)
    socket = SOCKET.search(text)
    if socket is not None and (serving is None or knows):
        home.note(pid, socket[0])
    os.setsid()  # what ends the keeper's group of processes must not end HAProxy
    keeper = os.getppid()
    # HAProxy may die before its guard runs, so the descriptors are opened here.
    watched = [os.pidfd_open(each) for each in (pid, keeper, parent_of(keeper))]
    if os.fork() == 0:
        os.setsid()
        Guard(binary, config, pid, *watched).run()
        os._exit(0)
    os.execv(binary, [binary, *options])


if __name__ == "__main__":
    main(*sys.argv[1:])
