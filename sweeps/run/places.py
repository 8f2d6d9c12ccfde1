"""The folders and URLs of a run, absolute, so that every process of the cluster finds them."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

from fsspec.implementations.memory import MemoryFileSystem

from unlearn.errors import require
from unlearn.files import locate


@dataclass(frozen=True)
class Places:
    """Absolute folders or URLs, and the code's revision.

    results: folder or URL of the rows
    store: folder or URL of the artifacts
    data_root: folder of the data sets
    git_revision: of this code; None outside of a git checkout
    """

    results: str
    store: str
    data_root: str
    git_revision: str | None


def places_for(store: str, results: str, data_root: str) -> Places:
    """Return the places, made absolute. Raises `BadInput` for one that workers cannot reach."""
    for root in (results, store, data_root):
        in_memory = isinstance(locate(root)[0], MemoryFileSystem)
        require(
            not in_memory,
            f"{root} lies in the memory of one process; "
            "choose a folder or URL that every worker reaches",
        )
    return Places(_absolute(results), _absolute(store), _absolute(data_root), _revision())


def _absolute(root: str) -> str:
    return root if "://" in root else str(Path(root).absolute())


def _revision() -> str | None:
    folder = Path(__file__).parent
    command = ["git", "-C", str(folder), "rev-parse", "HEAD"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    return run.stdout.strip() or None
