"""Read and write whole files at a local path or any fsspec URL; no reader sees a partial write."""

import contextlib
import os
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path

import fsspec
from fsspec.implementations.local import LocalFileSystem

from unlearn.errors import BadInput, CannotWrite, OutOfReach


def locate(url: str | Path) -> tuple[fsspec.AbstractFileSystem, str]:
    """Return (file system, path) of a path or URL. Raises `BadInput` for an unknown protocol."""
    try:
        fs, path = fsspec.core.url_to_fs(str(url))
    except (ValueError, ImportError) as error:
        raise BadInput(
            f"cannot reach {str(url)!r}: {error}; give a local path or a URL that fsspec can open"
        ) from error
    return fs, path


@contextlib.contextmanager
def reaching(url: str | Path) -> Iterator[None]:
    """Raise `OutOfReach` where the block cannot talk to the service behind a URL.

    Drivers of fsspec raise their libraries' own errors for that, such as botocore's, and some raise
    `PermissionError` for a whole bucket. Errors of a local path pass.
    """
    try:
        yield
    except BadInput:
        raise
    except Exception as error:
        foreign = type(error).__module__ != "builtins"
        if "://" not in str(url) or not (foreign or isinstance(error, PermissionError)):
            raise
        reason = f"{type(error).__name__}: {error}".rstrip(".")
        raise OutOfReach(
            f"cannot reach {url}: {reason}; check the URL, credentials, and that the service runs"
        ) from error


def join(url: str | Path, *names: str) -> str:
    """Append names to a path or URL, with one slash before each."""
    folder = str(url).rstrip("/")
    return "/".join([folder, *names])


def write_whole(url: str | Path, data: bytes, temporary: str | Path | None = None) -> None:
    """Write `data` to the file `url`, new or replaced, in one step; it is durable on return.

    A local disk or NFS gets a temporary file, fsync and an atomic rename; an object store gets one
    PUT. Raises `CannotWrite` where that fails; the old file then stays.

    temporary: folder of the temporary file, on the same file system; None for the file's own
        folder, where the temporary file is hidden (its name begins with a dot)
    """
    fs, path = locate(url)
    if not isinstance(fs, LocalFileSystem):
        try:
            with reaching(url):
                fs.pipe_file(path, data)
        except OutOfReach:
            raise
        except OSError as error:  # fsspec's file systems raise their service's refusals as this
            raise cannot_write(str(url), error) from error
        return
    target = Path(path)
    folder = Path(temporary) if temporary else target.parent
    draft = folder / f".{target.name}.{uuid.uuid4().hex[:12]}.tmp"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(parents=True, exist_ok=True)
        _write_and_sync(draft, data)
        os.replace(draft, path)
        _sync_folder(target.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)
        raise cannot_write(path, error) from error


def cannot_write(path: str, error: OSError) -> CannotWrite:
    """Return the error of a place that refused a write: the path, the system's reason."""
    reason = error.strerror or str(error)
    return CannotWrite(f"cannot write {path}: {reason}; choose a writable place with room")


def _write_and_sync(path: Path, data: bytes) -> None:
    """Write a new file and wait until the disk holds it."""
    with open(path, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    """Wait until the disk holds the folder's names, so that a rename survives a power cut."""
    held = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(held)
    finally:
        os.close(held)


def remove_all(urls: Iterable[str]) -> None:
    """Remove files; those that are gone already are no error."""
    for url in urls:
        fs, path = locate(url)
        with contextlib.suppress(FileNotFoundError), reaching(url):
            fs.rm_file(path)


def names_in(url: str | Path) -> list[str]:
    """Return the sorted names of everything in the folder `url` now; empty where it is missing."""
    fs, path = locate(url)
    fs.invalidate_cache()
    try:
        with reaching(url):
            entries = fs.ls(path, detail=False)
    except (FileNotFoundError, NotADirectoryError):
        return []
    names = [entry.rstrip("/").rpartition("/")[2] for entry in entries]
    return sorted(names)


def read_whole(url: str | Path) -> bytes:
    """Return the file's bytes.

    Raises `FileNotFoundError` where there is no such file, `BadInput` where it cannot be read.
    """
    fs, path = locate(url)
    try:
        with reaching(url):
            content: bytes = fs.cat_file(path)
    except OutOfReach:
        raise
    except (PermissionError, IsADirectoryError, NotADirectoryError) as error:
        raise BadInput(
            f"cannot read {path}: {error.strerror or error}; check the path and its permissions"
        ) from error
    return content


def exists(url: str | Path) -> bool:
    """Tell whether a file or folder exists now; fsspec's cached listings are dropped first."""
    fs, path = locate(url)
    fs.invalidate_cache()
    with reaching(url):
        there: bool = fs.exists(path)
    return there


def folders(url: str | Path) -> list[str]:
    """Return the sorted names of the visible folders in `url`; empty where `url` does not exist."""
    fs, path = locate(url)
    fs.invalidate_cache()
    with reaching(url):
        entries = fs.ls(path, detail=True) if fs.isdir(path) else []
    names = []
    for entry in entries:
        name = entry["name"].rstrip("/").rsplit("/", 1)[-1]
        if entry["type"] == "directory" and not name.startswith("."):
            names.append(name)
    return sorted(names)
