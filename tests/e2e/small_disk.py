"""A real file system with little room, to fill and to make read-only; needs the right to mount."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

BLOCK = 4096  # bytes that tmpfs gives a file at a time


@dataclass(frozen=True)
class SmallDisk:
    """A mounted tmpfs at `folder`."""

    folder: Path

    @property
    def ballast(self) -> Path:
        return self.folder / "ballast"

    def fill(self) -> None:
        """Write until there is no room left."""
        with self.ballast.open("ab", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(BLOCK))
            except OSError:
                return

    def empty(self) -> None:
        """Give the room back."""
        self.ballast.unlink()

    def read_only(self, on: bool = True) -> bool:
        """Remount; False while a file is open for writing."""
        option = "remount,ro" if on else "remount,rw"
        return _quiet("mount", "-o", option, str(self.folder))


def _quiet(*command: str) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[SmallDisk]:
    """Mount a tmpfs of `size` (as in `4m`) at a new folder."""
    folder.mkdir()
    mounted = _quiet("mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder))
    assert mounted, f"cannot mount a tmpfs at {folder}"
    try:
        yield SmallDisk(folder)
    finally:
        _quiet("umount", "--lazy", str(folder))


def missing() -> str:
    """Why no disk can be mounted here; empty if one can."""
    if not sys.platform.startswith("linux"):
        return "tmpfs is Linux's"
    if os.geteuid() != 0:
        return "only root mounts"
    return "" if _quiet("unshare", "--mount", "mount", "-t", "tmpfs", "t", "/mnt") else "no mounts"
