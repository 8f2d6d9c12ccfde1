"""Run the `amnesia` command by `python -m cluster`."""

from cluster.own import import_packages

import_packages()

from cluster.main import console  # noqa: E402

console()
