"""The cell that val chooses among the candidates of one method on one problem."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from sweeps.choose.choose import choose, score, spent, unstopped
from sweeps.compute.candidates import VAL_FORGET, ValScores, val_scores
from sweeps.plan.work import Candidates, among, ids_of
from sweeps.spec.cells import Cell, Problem
from sweeps.spec.grid import Point
from sweeps.spec.sweep import Sweep
from unlearn.errors import require

ScoredCell = tuple[Cell, ValScores]


@dataclass(frozen=True)
class CandidateSummary:
    """What the rows of one method's candidates tell.

    best_cells: the candidates with the best score on val, each with its scores
    good: `cell_id`s of all that have not failed
    seconds: of unlearning and reading all of them
    """

    best_cells: tuple[ScoredCell, ...] = ()
    good: frozenset[str] = frozenset()
    seconds: float = 0.0


@dataclass(frozen=True)
class ChosenCell:
    """A part of a plan: one cell to score in full, which val chooses among candidates.

    sweep, problem: what it belongs to; the problem is that of the candidates
    method: by name
    candidates: the grid, or the studies, whose cells of the method are its candidates
    example: one of the candidates
    unread: how many candidates have no row yet
    summary: of the candidates that have a row
    cell: the chosen cell; None while candidates have no row, and where all have failed
    left: 1 while the chosen cell has no row and may come, else 0
    """

    sweep: Sweep
    problem: Problem
    method: str
    candidates: tuple[Candidates, ...]
    example: Cell
    unread: int
    summary: CandidateSummary
    cell: Cell | None
    left: int

    @property
    def ids(self) -> frozenset[str]:
        return frozenset() if self.cell is None else frozenset([self.cell.cell_id])

    def cells_left(self) -> Iterator[Cell]:
        if self.left:
            yield self.cell or in_full(self.example)

    def points(self) -> list[Point]:
        """Return the points of the candidates that have a row and have not failed."""
        found: list[Point] = []
        for each in self.candidates:
            found += each.points_of(self.summary.good)
        return found


def chosen_cells(
    candidates: Sequence[Candidates], rows: pd.DataFrame, skip: set[str]
) -> list[ChosenCell]:
    """Return the chosen cell of every method on one problem.

    candidates: the problem's grid, or all of its studies
    rows: of the problem
    skip: ids of cells that have a row and are not computed again

    Raises `BadInput` where rows are left of candidates that all stopped early.
    """
    first = candidates[0]
    known = among(rows, skip & ids_of(candidates))
    rows_of = {str(name): own for name, own in known.groupby("method")}
    owners: dict[str, list[Candidates]] = {}
    examples: dict[str, Cell] = {}
    unread: Counter[str] = Counter()
    for each in candidates:
        unread += each.left_by_method()
        for name, example in each.examples().items():
            examples.setdefault(name, example)
            owners.setdefault(name, []).append(each)
    found = []
    for name, own in owners.items():
        summary = summarize(rows_of[name], own) if name in rows_of else CandidateSummary()
        require(
            bool(summary.best_cells or unread[name] or not summary.good),
            f"no candidate of {name} in sweep {first.sweep.name} was read on all of val; "
            "give the sweep another name",
        )
        cell = None if unread[name] else chosen_among(summary.best_cells)
        left = unread[name] > 0 or (cell is not None and cell.cell_id not in skip)
        found.append(
            ChosenCell(
                first.sweep,
                first.problem,
                name,
                tuple(own),
                examples[name],
                unread[name],
                summary,
                cell,
                int(left),
            )
        )
    return found


def summarize(rows: pd.DataFrame, candidates: Iterable[Candidates]) -> CandidateSummary:
    """Return what the rows of one method's candidates tell."""
    good = rows[rows["status"] == "ok"]
    read = unstopped(good)
    scores = score(read)
    best = read[scores == scores.max()]
    scores_of: dict[str, ValScores] = {}
    for row in best.to_dict("records"):
        val = val_scores(row)
        if val is not None:
            scores_of[row["cell_id"]] = val
    best_cells: list[ScoredCell] = []
    for each in candidates:
        for point in each.points_of(scores_of):
            cell = Cell(each.problem, point.method)
            best_cells.append((cell, scores_of[cell.cell_id]))
    return CandidateSummary(tuple(best_cells), frozenset(good["cell_id"]), spent(rows))


def add_candidate(best_cells: list[ScoredCell], cell: Cell, val: ValScores) -> list[ScoredCell]:
    """Return the best cells after one more candidate's scores."""
    best = best_cells[0][1].score if best_cells else val.score
    if val.stopped or val.score < best:
        return best_cells
    return [*best_cells, (cell, val)] if val.score == best else [(cell, val)]


def chosen_among(best_cells: Sequence[ScoredCell]) -> Cell | None:
    """Return the chosen cell, to be scored in full; None where there is no best cell.

    `choose` decides among the best; no candidate with a lower score can be its choice.
    """
    if not best_cells:
        return None
    cells = {cell.cell_id: cell for cell, _ in best_cells}
    if len(cells) == 1:
        return in_full(best_cells[0][0])
    same = {"status": "ok", "eval_candidates": "val", "val_stopped": False}
    records = []
    for cell, val in best_cells:
        own = {"cell_id": cell.cell_id, "method": cell.method_name, **vars(cell.method)}
        scores = {VAL_FORGET[-1]: val.forget, "val_retain_accuracy": val.retain}
        records.append({**same, **own, **scores})
    return in_full(cells[choose(pd.DataFrame(records)).row["cell_id"]])


def in_full(cell: Cell) -> Cell:
    """Return a candidate as the cell that is scored in full."""
    evaluation = replace(cell.problem.eval, candidates="full")
    return replace(cell, problem=replace(cell.problem, eval=evaluation))
