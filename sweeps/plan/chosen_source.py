"""The source of the one cell that val chooses, once all candidates of a method have a result."""

from collections.abc import Callable

from sweeps.choose.bounds import at_bounds, ends_of
from sweeps.compute.candidates import BestSoFar, Tuning, ValScores
from sweeps.plan.chosen import ChosenCell, add_candidate, chosen_among
from sweeps.spec.cells import Cell
from sweeps.spec.grid import Cells, Point, point_of


class ChosenSource:
    """Hands out the cell that val chooses, once every candidate of its method has a result.

    unasked: candidates that are not handed out yet
    unread: candidates without a result
    """

    chosen = True

    def __init__(self, part: ChosenCell) -> None:
        self.part, self.sweep, self.next_method = part, part.sweep, part.method
        self.unasked = self.unread = part.unread
        self.best_cells = list(part.summary.best_cells)
        self.points: list[Point] = []  # of candidates whose result has arrived and is no error
        self.seconds = part.summary.seconds
        self.best = BestSoFar()
        self.upcoming: Cell | None = part.cell

    @property
    def left(self) -> int:
        return int(self.upcoming is not None)

    @property
    def empty(self) -> bool:
        """Whether a cell was planned that does not come: all candidates have failed."""
        return self.part.left > 0 and self.unread == 0 and not self.best_cells

    @property
    def next(self) -> bool:
        """Whether the cell comes next: it is known, or all candidates are handed out."""
        return self.left > 0 or (self.unasked == 0 and self.unread > 0)

    def add_result(self, cell: Cell, val: ValScores | None, seconds: float) -> None:
        """Take the result of a candidate; the last one decides."""
        self.unread -= 1
        self.seconds += seconds
        if val is not None:
            self.points.append(point_of(cell))
            self.best_cells = add_candidate(self.best_cells, cell, val)
        if self.unread == 0:
            self.upcoming = chosen_among(self.best_cells)

    def take(self, k: int) -> list[Cell]:
        taken = [] if self.upcoming is None else [self.upcoming]
        self.upcoming = None
        return taken

    def tuning_of(self, cell: Cell) -> Tuning | None:
        points = (*self.part.points(), *self.points)
        bound = at_bounds(vars(cell.method), ends_of(self.sweep, cell.method_name))
        return Tuning(Cells(self.part.problem, points), self.seconds, bound)

    def tell(self, cell: Cell, val: ValScores | None, seconds: float = 0.0) -> None:
        """Learn nothing: a cell that was scored in full decides no more."""

    def drop(self, why: Callable[[Cell], str]) -> list[tuple[Cell, str]]:
        reason = "" if self.upcoming is None else why(self.upcoming)
        return [(cell, reason) for cell in self.take(1)] if reason else []
