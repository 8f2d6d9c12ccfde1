"""The right to fold a sweep's journal: at most one process on any machine holds it."""

import contextlib
import fcntl
import json
import os
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from fsspec.implementations.local import LocalFileSystem

from unlearn.files import cannot_write, join, locate, read_whole, remove_all, write_whole

LEASE_S = 30.0  # a process that dies without a word keeps others from folding for so long
SETTLE_S = 1.0  # from writing a lease to reading it back; longer than any PUT is under way
MARGIN_S = 10.0  # a fold begins only with so much of the lease left


class Right(Protocol):
    """A right that one holder has at a time."""

    def acquire(self) -> bool:
        """Take the right; False while another process holds it. Raises `CannotWrite`."""

    def release(self) -> None:
        """Give the right back, for now."""

    def resign(self) -> None:
        """Give the right back for good."""


def right_to_fold(folder: str) -> Right:
    """Return the right that belongs to a journal's folder: a file lock, or a lease in a URL."""
    fs, path = locate(folder)
    if isinstance(fs, LocalFileSystem):
        return FileLock(Path(path) / ".lock", Lease(join(folder, ".lease")))
    return Lease(join(folder, ".lease"))


@dataclass
class FileLock:
    """A lock of the kernel, which a process that is killed gives back at once.

    path: the lock file, on a local disk or an NFS that supports `flock`
    lease: what takes its place on a file system that cannot lock
    """

    path: Path
    lease: "Lease"
    held: int | None = None

    def acquire(self) -> bool:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:  # a full disk, or one that turned read-only
            raise cannot_write(str(self.path), error) from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            return False
        except OSError:  # this file system has no locks
            os.close(file)
            return self.lease.acquire()
        self.held = file
        return True

    def release(self) -> None:
        if self.held is None:
            self.lease.release()
            return
        os.close(self.held)
        self.held = None

    def resign(self) -> None:
        self.release()
        self.lease.resign()


@dataclass
class Lease:
    """A small file that names who may fold, and until when; for object stores, which have no locks.

    A lease is taken by writing it, waiting, and reading it back: of two that write at once, the
    later write stays. Relied on: a read sees the last finished write (S3 guarantees that); a PUT is
    under way for less than `SETTLE_S`; clocks agree to a few seconds; and a fold that begins with
    `MARGIN_S` of the lease left writes its files within that time.

    path: path or URL of the file
    owner: unique name of this holder
    now, sleep: the clock, replaced in tests
    """

    path: str
    owner: str = field(default_factory=lambda: uuid.uuid4().hex)
    now: Callable[[], float] = time.time
    sleep: Callable[[float], None] = time.sleep

    def acquire(self) -> bool:
        owner, until = self._read()
        now = self.now()
        ours = owner == self.owner and until > now
        if ours and until - now > MARGIN_S:
            return True
        if not ours and until > now:
            return False
        lease = {"owner": self.owner, "until": now + LEASE_S}
        write_whole(self.path, json.dumps(lease).encode())
        if not ours:
            self.sleep(SETTLE_S)
        owner, _ = self._read()
        return owner == self.owner

    def _read(self) -> tuple[str, float]:
        """Return (owner, the time at which the lease ends); ("", 0) where nobody has it."""
        try:
            text = read_whole(self.path)  # out of reach is not free: that error passes
        except FileNotFoundError:
            return "", 0.0
        try:
            lease = json.loads(text)
        except ValueError:
            return "", 0.0
        return str(lease["owner"]), float(lease["until"])

    def release(self) -> None:
        """Keep the lease between folds: to take it again costs a second."""

    def resign(self) -> None:
        with contextlib.suppress(OSError):
            owner, _ = self._read()
            if owner == self.owner:
                remove_all([self.path])
