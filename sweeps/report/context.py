"""The context of one problem, which all sections of the page share: rows, choice, models."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd
from torch import Tensor

from sweeps.choose.choose import Choice, choose
from sweeps.compute.cache import WorkerCache
from sweeps.compute.restore import cache_for, cell_from, weights_of
from sweeps.spec.cells import Cell, Problem
from unlearn.artifacts import Store
from unlearn.splits import Dataset


@dataclass(frozen=True, eq=False)
class CellModels:
    """The three models of one cell, loaded at first use and then kept.

    Raises `BadInput` at first use if the row's store lacks an artifact that they need.

    row: the cell's row
    data_root: the folder of the data sets
    """

    row: pd.Series
    data_root: str

    @cached_property
    def cell(self) -> Cell:
        return cell_from(self.row)

    @cached_property
    def cache(self) -> WorkerCache:
        return cache_for(self.row, self.data_root)

    @cached_property
    def by_kind(self) -> dict[str, Any]:
        """`original`, `amnesiac` and `oracle`, in this order."""
        cache, problem = self.cache, self.problem
        unlearned = weights_of(cache, self.cell, self.row)
        return {
            "original": cache.model(problem.original),
            "amnesiac": cache.build(problem.original, unlearned),
            "oracle": cache.model(problem.oracle),
        }

    @property
    def problem(self) -> Problem:
        return self.cell.problem

    @property
    def dataset(self) -> Dataset:
        return self.cache.dataset(self.problem.dataset)


@dataclass(frozen=True, eq=False)
class Context:
    """One problem of a sweep: its rows, the cell that val chooses, that cell's models.

    rows: all rows of the problem, those of failed cells too
    setting: the label of `differing_settings`, for the title; "" where all rows are alike
    choice: the chosen cell among the finished rows, and why
    is_best: whether val chooses this cell from the whole sweep as well
    models: the chosen cell's models; they are loaded at first use
    """

    rows: pd.DataFrame
    setting: str
    choice: Choice
    is_best: bool
    models: CellModels

    @property
    def row(self) -> pd.Series:
        """The chosen cell's row."""
        return self.choice.row

    @property
    def confirmed(self) -> bool:
        """Whether the chosen cell was scored in full, and not on val alone."""
        return bool(self.row["eval_candidates"] != "val")

    @cached_property
    def finished(self) -> pd.DataFrame:
        """The rows that did not fail."""
        return self.rows[self.rows["status"] == "ok"]

    @cached_property
    def candidates(self) -> pd.DataFrame:
        """The finished rows that were read on val alone."""
        return self.finished[self.finished["eval_candidates"] == "val"]

    @cached_property
    def pictures(self) -> dict[str, Tensor]:
        """The chosen cell's `stored_pictures`."""
        return stored_pictures(self.row)


def stored_pictures(row: pd.Series) -> dict[str, Tensor]:
    """Load the pictures that a cell saved in the store, uint8; {} where the store holds none.

    An attack's name maps to the images that it drew, (labels, n, channels, height, width). `film`
    and `film_steps` hold the recording of unlearning (see `sweeps.compute.recorder`).
    """
    store = Store(row["store"])
    if not store.has("pictures", row["cell_id"]):
        return {}
    return dict(store.load("pictures", row["cell_id"]))


def resolve(rows: pd.DataFrame, setting: str, best: str, data_root: str) -> Context:
    """Make the context of a problem with at least one finished cell.

    best: the cell_id that val chooses from the whole sweep
    """
    choice = choose(rows[rows["status"] == "ok"])
    is_best = bool(choice.row["cell_id"] == best)
    return Context(rows, setting, choice, is_best, CellModels(choice.row, data_root))
