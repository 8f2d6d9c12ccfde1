"""Keep the store's calibration file up to date while a run goes on, from the rows it folds."""

import time

import pandas as pd

from sweeps.plan.timings import COLUMNS, Rates, add_to_calibration, rates_of_rows
from sweeps.rows.schema import Row
from unlearn.artifacts import Store
from unlearn.errors import CannotWrite

EVERY_S = 30.0  # between two writes, so that a run that is killed has left nearly all it measured


class Calibration:
    """Collects what rows took, and writes it now and then and when it is closed.

    store: whose calibration file it is
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self.fresh = Rates()
        self.written_at = time.monotonic()

    def hear(self, rows: list[Row]) -> None:
        """Take new rows; write the file if it is time."""
        table = pd.DataFrame(rows, columns=list(COLUMNS))
        self.fresh.extend(rates_of_rows(table))
        if time.monotonic() - self.written_at >= EVERY_S:
            self.write()

    def write(self) -> None:
        """Write what was heard since the last time. The file is a help: where it cannot be written,
        the run goes on.
        """
        fresh, self.fresh = self.fresh, Rates()
        self.written_at = time.monotonic()
        try:
            add_to_calibration(self.store, fresh)
        except (CannotWrite, OSError):
            return

    def close(self) -> None:
        """Write what was heard last."""
        self.write()
