"""Run the `amnesia` command by `python -m cluster`."""

import sys

from cluster.main import entry

sys.exit(entry())
