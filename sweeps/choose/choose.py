"""Choose a cell on validation data alone, and say why."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from sweeps.choose.bounds import bound_of, in_words
from sweeps.compute.candidates import (
    FORGET_WEIGHT,
    SELECTION,
    VAL_FORGET,
    forget_gap,
    selection_score,
)
from unlearn.errors import require
from unlearn.methods import KNOBS

READ = (  # the columns of a row that choosing reads
    *("cell_id", "status", "model", "method", "forget", "seed"),
    *SELECTION,
    *("val_stopped", "eval_candidates", "eval_attacks"),
    *KNOBS,
)


def spent(rows: pd.DataFrame) -> float:
    """Return the seconds of unlearning and scoring these cells; `wall_s` for a failed cell."""
    seconds = (rows["unlearn_s"] + rows["evaluate_s"]).fillna(rows["wall_s"])
    return float(seconds.sum())


def seconds_spent(row: Mapping[str, Any]) -> float:
    """Return the `spent` of one row as it is written: what is null is None, or left out."""
    unlearn_s, evaluate_s = row.get("unlearn_s"), row.get("evaluate_s")
    if unlearn_s is None or evaluate_s is None:
        return float(row.get("wall_s") or 0.0)
    return float(unlearn_s + evaluate_s)


def unstopped(rows: pd.DataFrame) -> pd.DataFrame:
    """Leave out candidates that stopped early: their scores cover only a part of val."""
    return rows[~rows["val_stopped"].eq(True)]


def finished(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows that may be chosen: neither failed nor stopped early.

    If some rows were scored in full (`eval: {candidates: val}`), returns only these.
    """
    good = unstopped(rows[rows["status"] == "ok"])
    in_full = good[good["eval_candidates"] == "full"]
    return in_full if len(in_full) else good


def objectives(rows: pd.DataFrame) -> pd.DataFrame:
    """Return `val_forget` (lower is better) and `val_retain` (higher is better) of every row.

    Handles generators and classifiers, and reads no column of the test split. Where a random share
    of the training images is forgotten, `val_forget` is the gap to the oracle on these images.
    """
    forget = pd.Series(np.nan, index=rows.index)
    for column in VAL_FORGET:
        if column in rows:
            forget = forget.fillna(rows[column].astype(float))
    if "subset" in rows:
        drawn = rows["subset"].fillna("") != ""
        forget = forget.where(~drawn, forget_gap(rows).astype(float)) if drawn.any() else forget
    columns = {"val_forget": forget, "val_retain": rows["val_retain_accuracy"]}
    return pd.DataFrame(columns, index=rows.index)


def score(rows: pd.DataFrame) -> pd.Series:
    """Return the `selection_score` of every row on val."""
    values = objectives(rows)
    scores: pd.Series = selection_score(values["val_forget"], values["val_retain"])
    return scores


def best_scores(rows: pd.DataFrame) -> dict[str, float]:
    """Return method -> the best score on val of the rows that were read on all of val."""
    read = unstopped(rows[rows["status"] == "ok"])
    best = score(read).groupby(read["method"]).max().dropna()
    return {str(method): float(value) for method, value in best.items()}


def pareto(rows: pd.DataFrame) -> np.ndarray:
    """Return a mask (n,) of the rows that no other row dominates.

    A row dominates another if it is no worse in both objectives and better in one. A row without
    scores dominates none and is dominated by none.
    """
    values = objectives(rows).to_numpy(dtype=float)
    scored = np.flatnonzero(~np.isnan(values).any(axis=1))
    front = np.ones(len(rows), dtype=bool)
    if not len(scored):
        return front
    forget, retain = values[scored].T
    order = np.lexsort((-retain, forget))  # by forget; among equals the highest retain first
    forget, retain = forget[order], retain[order]
    starts = np.flatnonzero(np.r_[True, forget[1:] > forget[:-1]])  # of rows with equal forget
    best_of_equals = retain[starts]
    best_below = np.r_[-np.inf, np.maximum.accumulate(best_of_equals)[:-1]]
    sizes = np.diff(np.r_[starts, len(forget)])
    dominated = np.repeat(best_below, sizes) >= retain
    dominated |= np.repeat(best_of_equals, sizes) > retain
    front[scored[order]] = ~dominated
    return front


@dataclass(frozen=True)
class Choice:
    """A row and the reason it was chosen.

    bound: its knobs that were recorded to lie at an end of their range, as `alpha low`
    """

    row: pd.Series
    why: str
    bound: tuple[str, ...] = ()


def choose(rows: pd.DataFrame) -> Choice:
    """Return the row of the Pareto front with the best selection score.

    Ties are broken by the knobs, compared as text, so that the order of the rows does not matter;
    then by the number of attacks, most first; then by the smaller `cell_id`. Raises `BadInput` if
    no cell has finished.
    """
    good = finished(rows)
    require(
        len(good) > 0, "no finished cell to choose from; run the sweep, or retry its failed cells"
    )
    front = good[pareto(good)]
    scores = score(front)
    order = [name for name in (*KNOBS, "eval_attacks", "cell_id") if name in rows]
    best = front[scores == scores.max()].sort_values(order, key=_sort_key)
    require(len(best) > 0, "no cell has scores on val to choose by; run the sweep again")
    chosen = best.iloc[0]
    value = objectives(best).iloc[0]
    why = (
        f"best val_retain - {FORGET_WEIGHT} val_forget = {scores.max():.4f} "
        f"(val_retain {value.val_retain:.4f}, val_forget {value.val_forget:.4f}) "
        f"on the Pareto front of {len(front)} out of {len(good)} cells{_candidates(rows)}; "
        "the test split was not looked at"
    )
    bound = bound_of(chosen)
    return Choice(chosen, f"{why}; {in_words(bound)}" if bound else why, bound)


def _sort_key(column: pd.Series) -> pd.Series:
    if column.name == "eval_attacks":
        return -column.map(len)
    return column.astype(str)


def _candidates(rows: pd.DataFrame) -> str:
    """Say how many candidates the fully scored cells were chosen from; "" without candidates."""
    kinds = rows[rows["status"] == "ok"]["eval_candidates"]
    candidates = int((kinds == "val").sum())
    in_full = int((kinds == "full").sum())
    return f", the best by val of {candidates} candidates" if candidates and in_full else ""
