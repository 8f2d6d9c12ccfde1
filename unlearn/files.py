"""Whole files, written so that no reader ever sees half of one; a local path or any fsspec URL."""

import contextlib
import os
import uuid
from pathlib import Path

import fsspec
from fsspec.implementations.local import LocalFileSystem

from unlearn.errors import BadInput


def locate(url: str | Path) -> tuple[fsspec.AbstractFileSystem, str]:
    """(file system, path) of a local path or URL; an unknown protocol is refused."""
    try:
        fs, path = fsspec.core.url_to_fs(str(url))
    except (ValueError, ImportError) as error:
        raise BadInput(f"cannot reach {str(url)!r}: {error}") from error
    return fs, path


def join(url: str | Path, *names: str) -> str:
    return "/".join([str(url).rstrip("/"), *names])


def write_whole(url: str | Path, data: bytes, temporary: str | Path | None = None) -> None:
    """Replace the file `url` by `data`: on a local disk or NFS a temporary file, fsync and an atomic rename, on an
    object store one PUT. The temporary file lies in the folder `temporary` (same file system), else beside, hidden.
    """
    fs, path = locate(url)
    if not isinstance(fs, LocalFileSystem):
        fs.pipe_file(path, data)
        return
    folder = Path(temporary) if temporary else Path(path).parent
    draft = folder / f".{Path(path).name}.{uuid.uuid4().hex[:12]}.tmp"
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(parents=True, exist_ok=True)
        with open(draft, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)
        raise BadInput(
            f"cannot write {path}: {error.strerror}; choose a writable place with room"
        ) from error


def read_whole(url: str | Path) -> bytes:
    """The file's bytes; raises FileNotFoundError where there is none."""
    fs, path = locate(url)
    return fs.cat_file(path)


def exists(url: str | Path) -> bool:
    fs, path = locate(url)
    fs.invalidate_cache()
    return fs.exists(path)


def folders(url: str | Path) -> list[str]:
    """Names of the folders in `url`, sorted, hidden ones left out; none where `url` does not exist."""
    fs, path = locate(url)
    fs.invalidate_cache()
    if not fs.isdir(path):
        return []
    names = [
        entry["name"].rstrip("/").rsplit("/", 1)[-1]
        for entry in fs.ls(path, detail=True)
        if entry["type"] == "directory"
    ]
    return sorted(name for name in names if not name.startswith("."))
