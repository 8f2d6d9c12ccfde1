"""Run the `amnesia` command by `python -m cluster`."""

import sys

from cluster.own import import_packages

import_packages()

from cluster.main import entry  # noqa: E402

sys.exit(entry())
