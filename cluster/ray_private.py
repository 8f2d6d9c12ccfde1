"""Find the parts of Ray that have no public name. A Ray without one costs a line, not the command.

What starts a service, or compares a plan with this machine, asks here, and goes on without.
"""

import sys
from typing import Any

import ray


def find(name: str) -> Any | None:
    """Return `ray._private.NAME`, dots and all; None where this Ray has none."""
    found: Any = getattr(ray, "_private", None)
    for part in name.split("."):
        found = getattr(found, part, None)
    return found


def say_missing(name: str, then: str) -> None:
    """Print one line: this Ray lacks a part; `then` is what happens without it."""
    print(f"Ray {ray.__version__} has no ray._private.{name}: {then}", file=sys.stderr)
