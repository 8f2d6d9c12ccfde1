"""Choosing a cell on validation data alone, and saying why."""

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pandas as pd

from sweeps.spec.cells import MAKING, TRAINING
from sweeps.spec.sweep import Evaluation, Train
from unlearn.errors import require
from unlearn.methods import KNOBS, METHODS

SETTING = ("options", *(f"train_{name}" for name in TRAINING), "train_judge_steps", "eval_samples", "eval_judges",
           "eval_effort", "eval_attack_knobs")  # fmt: skip
DEFAULTS: dict[str, Any] = {
    f"{of}_{f.name}": f.default
    for of, kind in (("train", Train), ("eval", Evaluation))
    for f in fields(kind)
}
FORGET_WEIGHT = 1.5  # what a point of forgetting is worth in points of kept accuracy


def tried(rows: pd.DataFrame) -> list[str]:
    """In what cells of one method differ: what a grid or a study tried of its knobs, and how what it needs was made."""
    found = set()
    for method, own in rows.groupby("method"):
        found |= {
            name
            for name in (*KNOBS, *making(str(method)))
            if name in own and own[name].nunique() > 1
        }
    return sorted(found)


def making(method: str) -> list[str]:
    """The columns that say how what the method needs was made."""
    return [f"train_{name}" for need in METHODS[method].needs for name in MAKING.get(need, ())]


def spent(rows: pd.DataFrame) -> float:
    """Seconds of unlearning and reading these cells; of one that failed, of all that is known of it."""
    return float((rows["unlearn_s"] + rows["evaluate_s"]).fillna(rows["wall_s"]).sum())


def settings(rows: pd.DataFrame) -> pd.Series:
    """Of every row, as text, in what its training or scoring differs from other rows of its data set and model; ""
    where all are alike. Scores of different settings do not compare, whatever their sweep is called. Where an older
    row has no such setting, it is the default."""
    known = pd.DataFrame(
        {name: _known(rows[name]).map(str) for name in SETTING if name in rows}, index=rows.index
    )
    if "eval_attacks" in rows:
        known["attacks"] = (
            rows["eval_attacks"].map(len).where(rows["task"] == "generator", 0).map(str)
        )
    found = pd.Series("", index=rows.index, dtype=object)
    for _, of_model in known.groupby([rows["dataset"], rows["model"]]):
        differing = of_model.columns[of_model.nunique() > 1]
        for name in differing:
            found[of_model.index] += f", {name.removeprefix('train_')} " + of_model[name]
    return found


def _known(column: pd.Series) -> pd.Series:
    return column.fillna(DEFAULTS[str(column.name)]) if column.name in DEFAULTS else column


def unstopped(rows: pd.DataFrame) -> pd.DataFrame:
    """All rows but those of candidates that stopped on val, whose accuracies are of a part of it."""
    return rows[~rows["val_stopped"].eq(True)]


def finished(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows that may be chosen: neither failed nor stopped on val; confirmed ones alone where there are any, since
    theirs is the whole score (`eval: {candidates: val}`)."""
    good = unstopped(rows[rows["status"] == "ok"])
    whole = good[good["eval_candidates"] == "full"]
    return whole if len(whole) else good


def objectives(rows: pd.DataFrame) -> pd.DataFrame:
    """`val_forget` (lower is better) and `val_retain` of every row, of either task; nothing of test."""
    forget = rows["val_forget_probability"].fillna(rows["val_forget_accuracy"])
    return pd.DataFrame(
        {"val_forget": forget, "val_retain": rows["val_retain_accuracy"]}, index=rows.index
    )


def score(rows: pd.DataFrame) -> pd.Series:
    """val_retain - 1.5 val_forget."""
    values = objectives(rows)
    return values["val_retain"] - FORGET_WEIGHT * values["val_forget"]


def pareto(rows: pd.DataFrame) -> np.ndarray:
    """Mask of the rows that no other row beats: as little forget and more retain, or less and as much."""
    values = objectives(rows).to_numpy()
    forget, retain = values[:, 0], values[:, 1]
    no_worse = (forget[None] <= forget[:, None]) & (retain[None] >= retain[:, None])
    better = (forget[None] < forget[:, None]) | (retain[None] > retain[:, None])
    return np.asarray(~(no_worse & better).any(axis=1))


def _behind(rows: pd.DataFrame) -> str:
    """How many candidates stood behind cells that were chosen once already."""
    good = rows[rows["status"] == "ok"]["eval_candidates"]
    candidates, whole = (int((good == kind).sum()) for kind in ("val", "full"))
    return f", the best by val of {candidates} candidates" if candidates and whole else ""


@dataclass(frozen=True)
class Choice:
    """A row and the reason it was chosen."""

    row: pd.Series
    why: str


def _order(column: pd.Series) -> pd.Series:
    return -column.map(len) if column.name == "eval_attacks" else column.astype(str)


def choose(rows: pd.DataFrame) -> Choice:
    """The row of the Pareto front with the best `score`; ties go by the knobs, as text, so that the same cells tie
    alike however they were read; then to the one that was attacked most; then to the smaller cell_id."""
    order = [name for name in (*KNOBS, "eval_attacks", "cell_id") if name in rows]
    good = finished(rows).sort_values(order, key=_order, ignore_index=True)
    require(
        len(good) > 0, "no finished cell to choose from; run the sweep, or retry its failed cells"
    )
    front = good[pareto(good)]
    at = int(score(front).argmax())
    best, value = front.iloc[at], objectives(front).iloc[at]
    why = (
        f"best val_retain - {FORGET_WEIGHT} val_forget = {score(front).max():.4f} "
        f"(val_retain {value.val_retain:.4f}, val_forget {value.val_forget:.4f}) "
        f"on the Pareto front of {len(front)} out of {len(good)} cells{_behind(rows)}; the test split was not looked at"
    )
    return Choice(best, why)
