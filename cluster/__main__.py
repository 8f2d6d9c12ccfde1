"""Run the `amnesia` command by `python -m cluster`."""

from cluster.main import console

console()
