"""The `amnesia` command, also as `python -m amnesia`.

It lies outside our packages: where the user's folders hold a `cluster.py` of their own, that one
would be found instead of ours.
"""

import sys
from pathlib import Path
from typing import NoReturn


def main() -> NoReturn:
    """Find our packages whatever else has their names, run one command, end with its exit code."""
    here = str(Path(__file__).parent)
    sys.path.insert(0, here)
    try:
        from cluster.own import import_packages
    finally:
        sys.path.remove(here)
    import_packages()
    from cluster.main import console

    console()


if __name__ == "__main__":
    main()
