"""Choose a cell on validation data alone, and say why."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from sweeps.compute.candidates import FORGET_WEIGHT, selection_score
from unlearn.errors import require
from unlearn.methods import KNOBS


def spent(rows: pd.DataFrame) -> float:
    """Return the seconds of unlearning and reading these cells; of a failed one, all it took."""
    seconds = (rows["unlearn_s"] + rows["evaluate_s"]).fillna(rows["wall_s"])
    return float(seconds.sum())


def unstopped(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows without candidates that stopped early: those were read on part of val."""
    return rows[~rows["val_stopped"].eq(True)]


def finished(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows that may be chosen: neither failed nor stopped early.

    Where some were scored in full (`eval: {candidates: val}`), these alone.
    """
    good = unstopped(rows[rows["status"] == "ok"])
    in_full = good[good["eval_candidates"] == "full"]
    return in_full if len(in_full) else good


def objectives(rows: pd.DataFrame) -> pd.DataFrame:
    """Return `val_forget` (lower is better) and `val_retain` (higher is better) of every row.

    Of either task; nothing of test.
    """
    forget = rows["val_forget_probability"].fillna(rows["val_forget_accuracy"])
    columns = {"val_forget": forget, "val_retain": rows["val_retain_accuracy"]}
    return pd.DataFrame(columns, index=rows.index)


def score(rows: pd.DataFrame) -> pd.Series:
    """Return the selection score of every row on val."""
    values = objectives(rows)
    scores: pd.Series = selection_score(values["val_forget"], values["val_retain"])
    return scores


def pareto(rows: pd.DataFrame) -> np.ndarray:
    """Return a mask (n,) of the rows that no other row dominates.

    A row dominates another if it is no worse in both objectives and better in one.
    """
    values = objectives(rows).to_numpy()
    forget, retain = values[:, 0], values[:, 1]
    no_worse = (forget[None] <= forget[:, None]) & (retain[None] >= retain[:, None])
    better = (forget[None] < forget[:, None]) | (retain[None] > retain[:, None])
    dominated = (no_worse & better).any(axis=1)
    return np.asarray(~dominated)


@dataclass(frozen=True)
class Choice:
    """A row and the reason it was chosen."""

    row: pd.Series
    why: str


def choose(rows: pd.DataFrame) -> Choice:
    """Return the row of the Pareto front with the best selection score.

    Ties go by the knobs, as text, so that the same cells tie alike however they were read; then to
    the cell that was attacked most; then to the smaller `cell_id`. Raises `BadInput` where no cell
    has finished.
    """
    order = [name for name in (*KNOBS, "eval_attacks", "cell_id") if name in rows]
    good = finished(rows).sort_values(order, key=_sort_key, ignore_index=True)
    require(
        len(good) > 0, "no finished cell to choose from; run the sweep, or retry its failed cells"
    )
    front = good[pareto(good)]
    scores = score(front)
    at = int(scores.argmax())
    value = objectives(front).iloc[at]
    why = (
        f"best val_retain - {FORGET_WEIGHT} val_forget = {scores.max():.4f} "
        f"(val_retain {value.val_retain:.4f}, val_forget {value.val_forget:.4f}) "
        f"on the Pareto front of {len(front)} out of {len(good)} cells{_candidates(rows)}; "
        "the test split was not looked at"
    )
    return Choice(front.iloc[at], why)


def _sort_key(column: pd.Series) -> pd.Series:
    return -column.map(len) if column.name == "eval_attacks" else column.astype(str)


def _candidates(rows: pd.DataFrame) -> str:
    """Say how many candidates stood behind cells that were chosen once already."""
    kinds = rows[rows["status"] == "ok"]["eval_candidates"]
    candidates = int((kinds == "val").sum())
    in_full = int((kinds == "full").sum())
    return f", the best by val of {candidates} candidates" if candidates and in_full else ""
