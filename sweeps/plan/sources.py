"""Sources hand out the cells of a run one by one: from a grid, or as Optuna proposes them."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import TrialState, create_trial

from sweeps.compute.candidates import BestSoFar, Tuning, ValScores, val_scores
from sweeps.plan.chosen import ChosenCell
from sweeps.plan.chosen_source import ChosenSource
from sweeps.plan.work import Grid, Row, Study, Work
from sweeps.spec.cells import Cell, Problem
from sweeps.spec.search import is_logarithmic
from sweeps.spec.sweep import Sweep
from unlearn.errors import require
from unlearn.forget_sets import without_place
from unlearn.methods import KNOBS
from unlearn.streams import stream

TRIES = 50  # the sampler counts as stuck after so many asks that gave no new point
STARTUP_TRIALS = 10  # the most trials that TPE draws at random before it models the scores


class Source(Protocol):
    """Cells of one problem that are handed out while a run goes on.

    chosen: whether its cell is one that val chose among candidates
    """

    chosen: bool

    @property
    def sweep(self) -> Sweep: ...

    @property
    def best(self) -> BestSoFar:
        """The best score on val per method, of the results that have arrived."""

    @property
    def left(self) -> int:
        """How many cells can still be handed out; 0 for a chosen cell that is not known yet."""

    @property
    def next_method(self) -> str:
        """The method of the next cell; defined only while cells are left."""

    @property
    def upcoming(self) -> Cell | None:
        """The next cell, where that is known before it is handed out; else None."""

    def take(self, k: int) -> list[Cell]:
        """Hand out up to `k` cells."""

    def tuning_of(self, cell: Cell) -> Tuning | None:
        """Return the candidates that a chosen cell was chosen from; None for all others."""

    def tell(self, cell: Cell, val: ValScores | None, seconds: float = 0.0) -> None:
        """Take the val scores of a finished cell, and its seconds; no scores where it failed."""

    def drop(self, why: Callable[[Cell], str]) -> list[tuple[Cell, str]]:
        """Remove the cells for which `why` gives a reason not to run; return both."""


class GridSource:
    """Hands out a grid's cells in their order.

    chosen_sources: by method, the source of the cell that val chooses among these
    """

    chosen = False

    def __init__(self, grid: Grid) -> None:
        self.sweep = grid.sweep
        self.chosen_sources: Mapping[str, ChosenSource] = {}
        self.cells, self.taken = grid.cells, 0
        self.best = BestSoFar(grid.best)

    @property
    def left(self) -> int:
        return len(self.cells) - self.taken

    @property
    def next_method(self) -> str:
        return self.cells[self.taken].method_name

    @property
    def upcoming(self) -> Cell | None:
        return self.cells[self.taken] if self.left else None

    def take(self, k: int) -> list[Cell]:
        taken = list(self.cells[self.taken : self.taken + k])
        self.taken += len(taken)
        _count_asked(self.chosen_sources, taken)
        return taken

    def tuning_of(self, cell: Cell) -> Tuning | None:
        return None

    def tell(self, cell: Cell, val: ValScores | None, seconds: float = 0.0) -> None:
        self.best.update(cell.method_name, val)
        _pass_on(self.chosen_sources, cell, val, seconds)

    def drop(self, why: Callable[[Cell], str]) -> list[tuple[Cell, str]]:
        kept: list[Cell] = []
        dropped: list[tuple[Cell, str]] = []
        for cell in self.cells[self.taken :]:
            reason = why(cell)
            if reason:
                dropped.append((cell, reason))
            else:
                kept.append(cell)
        if dropped:
            self.cells, self.taken = kept, 0
        _count_asked(self.chosen_sources, (cell for cell, _ in dropped))
        for cell, _ in dropped:
            _pass_on(self.chosen_sources, cell, None, 0.0)
        return dropped


class StudySource:
    """Asks Optuna for one cell after another. A study resumes: Optuna first learns the rows.

    chosen_sources: by method, the source of the cell that val chooses among these
    """

    chosen = False

    def __init__(self, study: Study) -> None:
        self.study, self.sweep, self.left = study, study.sweep, study.left
        self.chosen_sources: Mapping[str, ChosenSource] = {}
        self.best = BestSoFar()
        self.space = {knob: distribution(knob, axis) for knob, axis in study.search.space}
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.optuna_study = optuna.create_study(
            directions=["minimize", "maximize"], sampler=_sampler(study)
        )
        self.asked: dict[str, optuna.Trial | None] = {}
        for row in study.finished:
            self.asked[row["cell_id"]] = None
            self._add(row)
            self.best.update(study.method, val_scores(row))
        for row in study.again:
            self.optuna_study.enqueue_trial(study.point_of(row))

    def _add(self, row: Row) -> None:
        values, state = _result(val_scores(row))
        point = self.study.point_of(row)
        trial = create_trial(params=point, distributions=self.space, values=values, state=state)
        self.optuna_study.add_trial(trial)

    @property
    def next_method(self) -> str:
        return self.study.method

    @property
    def upcoming(self) -> Cell | None:
        return None

    def take(self, k: int) -> list[Cell]:
        taken: list[Cell] = []
        while len(taken) < k and self.left > 0:
            taken.append(self._ask())
            self.left -= 1
        _count_asked(self.chosen_sources, taken)
        return taken

    def _ask(self) -> Cell:
        """Return the cell at the sampler's next new point.

        If the sampler only repeats itself, returns the first free point of a finite space, and
        raises `BadInput` for any other.
        """
        for _ in range(TRIES):
            trial = self.optuna_study.ask(self.space)
            cell = self.study.cell_at(trial.params)
            if cell.cell_id not in self.asked:
                self.asked[cell.cell_id] = trial
                return cell
            self.optuna_study.tell(trial, state=TrialState.FAIL)
        search = self.study.search
        require(
            search.finite,
            f"{TRIES} asks in a row gave no new point of sweep {self.sweep.name}; "
            "widen its search.space",
        )
        every = map(self.study.cell_at, search.points())
        cell = next(cell for cell in every if cell.cell_id not in self.asked)
        self.asked[cell.cell_id] = None
        return cell

    def tuning_of(self, cell: Cell) -> Tuning | None:
        return None

    def tell(self, cell: Cell, val: ValScores | None, seconds: float = 0.0) -> None:
        self.best.update(cell.method_name, val)
        _pass_on(self.chosen_sources, cell, val, seconds)
        trial = self.asked.get(cell.cell_id)
        if trial is not None:
            values, state = _result(val)
            self.optuna_study.tell(trial, values, state=state)

    def drop(self, why: Callable[[Cell], str]) -> list[tuple[Cell, str]]:
        """Drop all cells or none: they need the same artifacts."""
        reason = why(self.study.example)
        if not reason:
            return []
        dropped = self.take(self.left)
        for cell in dropped:
            _pass_on(self.chosen_sources, cell, None, 0.0)
        return [(cell, reason) for cell in dropped]


def _count_asked(chosen_sources: Mapping[str, ChosenSource], cells: Iterable[Cell]) -> None:
    """Count candidates that are handed out."""
    if chosen_sources:
        for cell in cells:
            chosen_sources[cell.method_name].unasked -= 1


def _pass_on(
    chosen_sources: Mapping[str, ChosenSource], cell: Cell, val: ValScores | None, seconds: float
) -> None:
    """Tell the source of the chosen cell a candidate's result."""
    if chosen_sources:
        chosen_sources[cell.method_name].add_result(cell, val, seconds)


def open_sources(work: Iterable[Work]) -> list[Source]:
    """Return a source for each part of a plan, in order; candidates' tell those that choose."""
    found: list[Source] = []
    candidates: list[tuple[Problem, GridSource | StudySource]] = []
    chosen_sources: dict[tuple[str, Problem], dict[str, ChosenSource]] = {}
    for part in work:
        if isinstance(part, ChosenCell):
            chosen = ChosenSource(part)
            own = chosen_sources.setdefault((part.sweep.name, part.problem), {})
            own[part.method] = chosen
            found.append(chosen)
            continue
        source = OPENERS[type(part)](part)
        candidates.append((part.problem, source))
        found.append(source)
    for problem, source in candidates:
        source.chosen_sources = chosen_sources.get((source.sweep.name, problem), {})
    return found


OPENERS: Mapping[type[Work], Callable[[Any], GridSource | StudySource]] = {
    Grid: GridSource,
    Study: StudySource,
}


def _sampler(study: Study) -> optuna.samplers.BaseSampler:
    """Return the study's sampler.

    Its seed depends on the search's seed and on the problem, so that problems get other points;
    with `draws: method` also on the method, else all methods of a problem start at the same
    quantiles; and on how many cells a resumed study has asked for, so that it does not repeat its
    draws.
    """
    problem, search = study.problem, study.search
    asked = len(study.finished) + len(study.again)
    resumed = (asked,) if asked else ()
    own = (study.method,) if search.draws == "method" else ()
    drawn = (without_place(problem.subset),) if problem.subset else ()
    purpose = ("study", problem.model, problem.forget, problem.seed, *drawn, *own, *resumed)
    seed = stream(search.seed, *purpose).initial_seed() % 2**32
    if search.sampler == "random":
        return optuna.samplers.RandomSampler(seed=seed)
    startup = max(1, min(STARTUP_TRIALS, search.trials // 3))
    return optuna.samplers.TPESampler(
        seed=seed, n_startup_trials=startup, multivariate=True, constant_liar=True
    )


def _result(val: ValScores | None) -> tuple[list[float] | None, TrialState]:
    """Return a trial's values (forget, retain) and state for Optuna; None is a failed trial."""
    if val is None:
        return None, TrialState.FAIL
    return [val.forget, val.retain], TrialState.COMPLETE


def distribution(knob: str, axis: tuple[Any, ...]) -> BaseDistribution:
    """Return the Optuna distribution of one axis of a search space.

    axis: (low, high) of a knob that is a float or an integer, else the names to choose from
    """
    kind = KNOBS[knob]
    if kind not in (float, int):
        return CategoricalDistribution(axis)
    low, high = kind(axis[0]), kind(axis[1])
    log = is_logarithmic(axis)
    if kind is int:
        return IntDistribution(low, high, log=log)
    return FloatDistribution(low, high, log=log)
