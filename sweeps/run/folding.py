"""Fold the journals of a run's sweeps in the background, so that pandas is at most 5 s behind."""

import sys
import time
from collections.abc import Callable, Iterable
from threading import Event, Lock, Thread
from types import TracebackType

from sweeps.rows.fold import Folder
from sweeps.rows.results import Results
from sweeps.rows.schema import Row
from unlearn.errors import BadInput, CannotWrite, OutOfReach

EVERY_S = 4.0  # a fold takes up to half a second, and pandas should be at most 5 s behind
PATIENCE_S = 120.0  # at the end: for a fold of another process, or rows that NFS does not show yet


class Folding:
    """Folds while the `with` block runs, and all that is left when it ends.

    results: the rows
    sweeps: by name
    on_fold: called with the rows that this process has folded, in the background

    After a normal end, raises `BadInput` where rows could not be folded; they are safe in the
    journal.
    """

    def __init__(
        self,
        results: Results,
        sweeps: Iterable[str],
        on_fold: Callable[[list[Row]], None] | None = None,
    ) -> None:
        self.folders = [Folder(results, sweep, on_fold) for sweep in sweeps]
        self.ended = Event()
        self.lock = Lock()
        self.pending: set[str] = set()  # cells whose rows were written but not seen in a file
        self.halt = ""  # why no fold can be written any more
        self.thread = Thread(target=self._keep_folding, name="folding", daemon=True)

    def wrote(self, cell_ids: Iterable[str]) -> None:
        """Note rows that workers have written."""
        with self.lock:
            self.pending.update(cell_ids)

    def _keep_folding(self) -> None:
        while not self.ended.wait(EVERY_S):
            try:
                self._fold()
            except (BadInput, OSError) as error:
                full = isinstance(error, CannotWrite) and not isinstance(error, OutOfReach)
                if full:
                    self.halt = str(error)
                    return
                # a foreign file, or a place out of reach for now
                print(f"warning: rows wait in the journal: {error}", file=sys.stderr)

    def _fold(self) -> bool:
        """Fold, unless another process does; tell whether all written rows are in files."""
        for folder in self.folders:
            folder.fold()
            folder.lookup.refresh()
        with self.lock:
            missing = set(self.pending)
            for folder in self.folders:
                missing = {cell for cell in missing if folder.lookup.file_of(cell) is None}
            self.pending &= missing
            return not self.pending

    def __enter__(self) -> "Folding":
        self.thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.ended.set()
        self.thread.join()
        try:
            if kind is None:
                self._finish()
            else:
                self._leave(error)
        finally:
            for folder in self.folders:
                folder.close()

    def _finish(self) -> None:
        """Fold until every row that was written is in a file."""
        ends = time.monotonic() + PATIENCE_S
        while not self._fold():
            if time.monotonic() > ends:
                raise BadInput(
                    f"rows wait in the journal after {PATIENCE_S:.0f} s, because another process "
                    "folds or the file system does not show them; nothing is lost: run "
                    "`amnesia compact` later"
                )
            time.sleep(0.2)

    def _leave(self, cause: BaseException | None) -> None:
        """Fold once more after an interruption or an error, if that is possible."""
        try:
            self._fold()
        except (BadInput, OSError) as error:
            if not isinstance(cause, CannotWrite):  # else the command's last line says why
                print(f"warning: rows wait in the journal: {error}", file=sys.stderr)
