"""`python -m cluster` is the `amnesia` command."""

import sys

from cluster.main import entry

sys.exit(entry())
