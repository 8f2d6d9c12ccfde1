"""End a command on SIGINT, SIGTERM or SIGHUP: in order, and by force where that takes long."""

import contextlib
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

import psutil

HANDLED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
GRACE_S = 5.0  # seconds that a command has to end in order
REAP_S = 1.0  # seconds that killed processes have to disappear


@dataclass
class Interruption:
    """What ends a command.

    notice: what to tell the user, without the signal's name
    number: the first signal that arrived; None while there is none
    """

    notice: str
    number: int | None = None

    @property
    def exit_code(self) -> int:
        """128 plus the signal's number, as a shell counts: 130, 143, 129."""
        return 128 + (self.number or signal.SIGINT)

    @property
    def line(self) -> str:
        """One line for stderr."""
        number = signal.Signals(self.number or signal.SIGINT)
        how = "interrupted" if number == signal.SIGINT else f"ended by {number.name}"
        return f"amnesia: {how}{self.notice}"


@contextmanager
def interruptible(notice: str) -> Iterator[Interruption]:
    """Raise `KeyboardInterrupt` at the first signal; kill this process after `GRACE_S` seconds.

    Then, and at a second Ctrl-C, the processes that this one has started are killed too: Ray's
    shutdown can take half a minute on a busy machine, and more than the 10 s that SLURM or
    Kubernetes may leave. Later signals are ignored, because a closing terminal sends several.

    A signal that is ignored when the command starts, as under `nohup`, stays ignored.
    """
    interruption = Interruption(notice)
    if threading.current_thread() is not threading.main_thread():  # others receive no signals
        yield interruption
        return

    def strike(number: int, frame: FrameType | None) -> None:
        if interruption.number is None:
            interruption.number = number
            raise KeyboardInterrupt

    before = {number: signal.getsignal(number) for number in HANDLED}
    with _watch(interruption):
        for number, handler in before.items():
            if handler != signal.SIG_IGN:
                signal.signal(number, strike)
        try:
            yield interruption
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


@contextmanager
def _watch(interruption: Interruption) -> Iterator[None]:
    """Run a thread that reads each signal's number from a socket, where C code writes it.

    A Python handler would not run while the main thread waits inside of C++.
    """
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    before = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    thread = threading.Thread(target=_guard, args=(reader, interruption), daemon=True)
    thread.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        writer.close()  # ends the thread
        thread.join()
        reader.close()


def _guard(reader: socket.socket, interruption: Interruption) -> None:
    """Wait for a signal, then for the end of the command; force the end where that is late."""
    number = _next_signal(reader)
    if number is None:
        return
    deadline = time.monotonic() + GRACE_S
    started = _descendants()
    with contextlib.suppress(TimeoutError):
        later: int | None = 0
        while later != signal.SIGINT:
            reader.settimeout(max(deadline - time.monotonic(), 0.001))
            later = _next_signal(reader)
            if later is None:
                return
    interruption.number = interruption.number or number
    _force(interruption, started)


def _next_signal(reader: socket.socket) -> int | None:
    """Return the next handled signal; None once the command has ended. Raises `TimeoutError`."""
    while byte := reader.recv(1):
        if byte[0] in HANDLED and signal.getsignal(byte[0]) != signal.SIG_IGN:
            return byte[0]
    return None


def _descendants() -> set[psutil.Process]:
    return set(psutil.Process().children(recursive=True))


def _force(interruption: Interruption, started: set[psutil.Process]) -> None:
    """Kill what this process has started, then end it.

    started: descendants at the first signal; their parents may have died since
    """
    processes = started | _descendants()
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(processes, timeout=REAP_S)
    os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, f"{interruption.line}\n".encode())
    os._exit(interruption.exit_code)
