"""Where cells come from: a group's grid, and its Optuna study of one method."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import optuna
import pandas as pd
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import TrialState, create_trial

from sweeps.compute.cell import BestSoFar, Tuning, read_on_val
from sweeps.spec.cells import Cell, Problem, cell_of
from sweeps.spec.sweep import Search, Sweep
from unlearn.errors import require
from unlearn.methods import KNOBS
from unlearn.streams import stream

TRIES = 50  # asks for a point that has no row yet, before the sampler counts as stuck


class Grid:
    """The cells of one group's grid that have no row yet, out of all that are `known`, and the `bars` that the others'
    rows set; of chosen ones by cell_id what they were chosen from."""

    def __init__(
        self,
        sweep: Sweep,
        cells: Iterable[Cell],
        known: Iterable[Cell] = (),
        tuning: Mapping[str, Tuning] | None = None,
        bars: BestSoFar | None = None,
    ) -> None:
        self.sweep, self.cells, self.tuning, self.bars = (
            sweep,
            list(cells),
            tuning or {},
            bars or BestSoFar(),
        )
        self.ids = {cell.cell_id for cell in known}

    @property
    def left(self) -> int:
        return len(self.cells)

    @property
    def example(self) -> Cell:
        """The next cell; others of another method may need other artifacts."""
        return self.cells[0]

    def take(self, k: int) -> list[Cell]:
        taken, self.cells = self.cells[:k], self.cells[k:]
        return taken

    def tell(self, cell: Cell, row: dict[str, Any]) -> None:
        """Raise the bar."""
        self.bars.heed(cell.method, row)


class Study:
    """One group's and method's Optuna study on `val_*`: forget down, retain up. Re-told from rows, so it resumes; cells
    that have a row but are not in `done` are asked for again, before any new one."""

    def __init__(
        self,
        sweep: Sweep,
        search: Search,
        method: str,
        problem: Problem,
        fixed: dict[str, Any],
        rows: pd.DataFrame,
        done: set[str],
    ) -> None:
        self.sweep, self.search, self.method, self.problem, self.fixed = (
            sweep,
            search,
            method,
            problem,
            fixed,
        )
        self.space = {knob: distribution(knob, choices) for knob, choices in search.space}
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        own = [row for row in rows.to_dict("records") if self._owns(row)]
        self.study = optuna.create_study(
            directions=["minimize", "maximize"], sampler=self._sampler(len(own))
        )
        self.asked: dict[str, optuna.Trial | None] = {}
        for row in own:
            if row["cell_id"] in done:
                self.asked[row["cell_id"]] = None
                self._add(row)
            else:
                self.study.enqueue_trial(self._point(row))
        self.left = max(search.trials, len(own)) - len(self.asked)
        self.bars = BestSoFar.over(rows[rows["cell_id"].isin(set(self.asked))])

    def _sampler(self, asked: int) -> optuna.samplers.BaseSampler:
        """Seeded by the search's seed and the group, so that two groups never walk alike, and by how many cells a
        resumed study has asked for, so that it does not repeat its walk."""
        resumed = (asked,) if asked else ()
        purpose = ("study", self.problem.model, self.problem.forget, self.problem.seed, *resumed)
        seed = stream(self.search.seed, *purpose).initial_seed()
        if self.search.sampler == "random":
            return optuna.samplers.RandomSampler(seed=seed % 2**32)
        start = max(
            1, min(10, self.search.trials // 3)
        )  # at random, before TPE has anything to learn from
        return optuna.samplers.TPESampler(
            seed=seed % 2**32, n_startup_trials=start, multivariate=True, constant_liar=True
        )

    def _owns(self, row: Mapping[Any, Any]) -> bool:
        """Whether the row is of a cell that this study can ask for: none of another method or outside of its space."""
        return self.search.contains(row) and self._cell(self._point(row)).cell_id == row["cell_id"]

    def _point(self, row: Mapping[Any, Any]) -> dict[str, Any]:
        return {knob: row[knob] for knob in self.space}

    def _add(self, row: Mapping[Any, Any]) -> None:
        values = read_on_val(row)
        state = TrialState.COMPLETE if values else TrialState.FAIL
        trial = create_trial(
            params=self._point(row), distributions=self.space, values=values, state=state
        )
        self.study.add_trial(trial)

    def _cell(self, chosen: dict[str, Any]) -> Cell:
        return cell_of(self.sweep, self.problem, self.method, {**self.fixed, **chosen})

    @property
    def example(self) -> Cell:
        """The cell in the middle of the space: any two need the same artifacts."""
        return self._cell({knob: _middle(axis) for knob, axis in self.space.items()})

    @property
    def ids(self) -> set[str]:
        """Every cell that was ever asked for."""
        return set(self.asked)

    def take(self, k: int) -> list[Cell]:
        """Ask for up to `k` cells that are neither done nor in flight."""
        taken: list[Cell] = []
        while len(taken) < k and self.left > 0:
            cell = self._ask()
            taken.append(cell)
            self.left -= 1
        return taken

    def _ask(self) -> Cell:
        """The sampler's next point that is new; where it repeats itself in a finite space, the first free one."""
        for _ in range(TRIES):
            trial = self.study.ask(self.space)
            cell = self._cell(dict(trial.params))
            if cell.cell_id not in self.asked:
                self.asked[cell.cell_id] = trial
                return cell
            self.study.tell(trial, state=TrialState.FAIL)
        require(
            self.search.finite,
            f"{TRIES} asks in a row gave no new point of sweep {self.sweep.name}; widen its search.space",
        )
        cell = next(
            cell for cell in map(self._cell, self.search.points()) if cell.cell_id not in self.asked
        )
        self.asked[cell.cell_id] = None
        return cell

    def tell(self, cell: Cell, row: dict[str, Any]) -> None:
        """Raise the bar, and tell the study what came of its point."""
        self.bars.heed(cell.method, row)
        trial = self.asked.get(cell.cell_id)
        if trial is not None:
            values = read_on_val(row)
            self.study.tell(trial, values, state=TrialState.COMPLETE if values else TrialState.FAIL)


def distribution(knob: str, choices: tuple[Any, ...]) -> BaseDistribution:
    """[low, high] of a knob that is a float or an integer, by its logarithm where both are positive and a factor
    of ten or more apart; or names to choose from."""
    if KNOBS[knob] in (float, int):
        low, high = choices
        log = 10 * low <= high if low > 0 else False
        kinds: dict[type, Any] = {float: FloatDistribution, int: IntDistribution}
        return kinds[KNOBS[knob]](KNOBS[knob](low), KNOBS[knob](high), log=log)
    return CategoricalDistribution(choices)


def _middle(axis: BaseDistribution) -> Any:
    """Half way between the bounds, by their logarithm where that is what is searched; the first of names."""
    if isinstance(axis, FloatDistribution | IntDistribution):
        middle = math.sqrt(axis.low * axis.high) if axis.log else (axis.low + axis.high) / 2
        return round(middle) if isinstance(axis, IntDistribution) else middle
    return axis.choices[0] if isinstance(axis, CategoricalDistribution) else None


Source = Grid | Study
