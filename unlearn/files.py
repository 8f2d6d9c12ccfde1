"""Read and write whole files at a local path or any fsspec URL; no reader sees a partial write."""

import contextlib
import os
import uuid
from pathlib import Path

import fsspec
from fsspec.implementations.local import LocalFileSystem

from unlearn.errors import BadInput


def locate(url: str | Path) -> tuple[fsspec.AbstractFileSystem, str]:
    """Return (file system, path) of a path or URL. Raises `BadInput` for an unknown protocol."""
    try:
        fs, path = fsspec.core.url_to_fs(str(url))
    except (ValueError, ImportError) as error:
        raise BadInput(
            f"cannot reach {str(url)!r}: {error}; give a local path or a URL that fsspec can open"
        ) from error
    return fs, path


def join(url: str | Path, *names: str) -> str:
    """Append names to a path or URL, with one slash before each."""
    folder = str(url).rstrip("/")
    return "/".join([folder, *names])


def write_whole(url: str | Path, data: bytes, temporary: str | Path | None = None) -> None:
    """Write `data` to the file `url`, new or replaced, in one step.

    A local disk or NFS gets a temporary file, fsync and an atomic rename; an object store gets one
    PUT. Raises `BadInput` where a local file cannot be written; the old file then stays.

    temporary: folder of the temporary file, on the same file system; None for the file's own
        folder, where the temporary file is hidden (its name begins with a dot)
    """
    fs, path = locate(url)
    if not isinstance(fs, LocalFileSystem):
        fs.pipe_file(path, data)
        return
    target = Path(path)
    folder = Path(temporary) if temporary else target.parent
    draft = folder / f".{target.name}.{uuid.uuid4().hex[:12]}.tmp"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(parents=True, exist_ok=True)
        _write_and_sync(draft, data)
        os.replace(draft, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)
        raise BadInput(
            f"cannot write {path}: {error.strerror}; choose a writable place with room"
        ) from error


def _write_and_sync(path: Path, data: bytes) -> None:
    """Write a new file and wait until the disk holds it."""
    with open(path, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def read_whole(url: str | Path) -> bytes:
    """Return the file's bytes.

    Raises `FileNotFoundError` where there is no such file, `BadInput` where it cannot be read.
    """
    fs, path = locate(url)
    try:
        content: bytes = fs.cat_file(path)
    except (PermissionError, IsADirectoryError, NotADirectoryError) as error:
        raise BadInput(
            f"cannot read {path}: {error.strerror or error}; check the path and its permissions"
        ) from error
    return content


def exists(url: str | Path) -> bool:
    """Tell whether a file or folder exists now; fsspec's cached listings are dropped first."""
    fs, path = locate(url)
    fs.invalidate_cache()
    there: bool = fs.exists(path)
    return there


def folders(url: str | Path) -> list[str]:
    """Return the sorted names of the visible folders in `url`; empty where `url` does not exist."""
    fs, path = locate(url)
    fs.invalidate_cache()
    if not fs.isdir(path):
        return []
    names = []
    for entry in fs.ls(path, detail=True):
        name = entry["name"].rstrip("/").rsplit("/", 1)[-1]
        if entry["type"] == "directory" and not name.startswith("."):
            names.append(name)
    return sorted(names)
