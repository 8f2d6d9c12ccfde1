"""Import our own packages where other folders of the search path hold modules of the same names.

Users keep an `unlearn/` (SalUn's code has one) or a `serve.py` of their own on PYTHONPATH or in the
working folder, which Python searches before installed packages. Once our top-level packages are in
`sys.modules`, everything below them is found through them; `sys.path` itself stays as it is, so
that the user's modules keep their places. This file imports nothing of ours.
"""

from collections.abc import Callable
from pathlib import Path

PACKAGES = ("cluster", "sweeps", "unlearn", "serve")


def import_packages() -> None:
    """Import our packages from the folder in which this one lies.

    In a Ray job each of them lies in a folder of its own, and these come first on the search path.
    """
    importer([str(Path(__file__).parents[1])])()


def importer(folders: list[str]) -> Callable[[], None]:
    """Return a function that imports our packages, looking into `folders` first.

    folders: none for those of $PYTHONPATH, where Ray puts the code that a driver sends

    Ray sends the function to its workers. It is defined inside another one, so that it travels by
    value: a worker that had to import it would import the wrong `cluster`.
    """
    names = PACKAGES

    def import_own_packages() -> None:
        import importlib
        import os
        import sys

        before = list(sys.path)
        first = folders or os.environ.get("PYTHONPATH", "").split(os.pathsep)
        sys.path[:0] = first
        try:
            for name in names:
                importlib.import_module(name)
        finally:
            sys.path[:] = before

    return import_own_packages
