"""Tell which rows may be compared: find the knobs and settings in which they differ."""

from collections.abc import Iterable
from dataclasses import fields
from typing import Any

import pandas as pd

from sweeps.spec.recipes import MAKING, TRAINING
from sweeps.spec.sections import Evaluation, Train
from unlearn.forget_sets import without_place
from unlearn.methods import KNOBS, METHODS

# Columns that say how a row's models were trained and how they were scored.
SETTINGS = (
    "options",
    *(f"train_{name}" for name in TRAINING),
    "train_judge_steps",
    "train_judge_fade",
    "train_fisher_objective",
    "eval_samples",
    "eval_judges",
    "eval_effort",
    "eval_attack_knobs",
    "eval_any_forgotten",
)


def _defaults() -> dict[str, Any]:
    found = {}
    for prefix, kind in (("train_", Train), ("eval_", Evaluation)):
        for f in fields(kind):
            found[prefix + f.name] = f.default
    return found


DEFAULTS = _defaults()


def varied_knobs(rows: pd.DataFrame) -> list[str]:
    """Return the columns in which rows of one method differ, sorted.

    They are its knobs, and the `train_*` columns that say how the artifacts it needs were made.
    """
    found = set()
    for method, own in rows.groupby("method"):
        for name in (*KNOBS, *making_columns(str(method))):
            if name in own and own[name].nunique() > 1:
                found.add(name)
    return sorted(found)


def making_columns(method: str) -> list[str]:
    """Return the `train_*` columns that say how the artifacts the method needs were made."""
    columns = []
    for need in METHODS[method].needs:
        columns += [f"train_{name}" for name in MAKING.get(need, ())]
    return columns


def forget_texts(rows: pd.DataFrame) -> pd.Series:
    """Name each row's forget set: its classes as `0,1`, or what else is forgotten."""
    texts = rows["forget"].map(_joined)
    if "subset" not in rows:
        return texts
    subsets = rows["subset"].map(_named)
    return texts.where(subsets == "", subsets)


def forgotten(rows: pd.DataFrame) -> list[str]:
    """Return the columns that say what rows forget; `subset` where one forgets no whole class."""
    some = "subset" in rows and bool(rows["subset"].map(_named).any())
    return ["forget", "subset"] if some else ["forget"]


def _joined(labels: Iterable[int]) -> str:
    return ",".join(map(str, labels))


def _named(subset: object) -> str:
    return without_place(subset) if isinstance(subset, str) else ""


def differing_settings(rows: pd.DataFrame) -> pd.Series:
    """Label each row with the settings in which it differs from rows of its data set and model.

    The label is "" where all are alike. Scores of different settings do not compare, even in one
    sweep. A setting that an older row lacks counts as its default.
    """
    known = pd.DataFrame(index=rows.index)
    for name in SETTINGS:
        if name in rows:
            known[name] = filled(rows[name]).map(str)
    if "eval_attacks" in rows:  # attacked generators are listed apart from others
        attacks = rows["eval_attacks"].map(len).where(rows["task"] == "generator", 0)
        known["attacks"] = attacks.map(str)
    labels = pd.Series("", index=rows.index, dtype=object)
    for _, of_model in known.groupby([rows["dataset"], rows["model"]]):
        differing = of_model.columns[of_model.nunique() > 1]
        for name in differing:
            labels[of_model.index] += f", {name.removeprefix('train_')} " + of_model[name]
    return labels


def filled(column: pd.Series) -> pd.Series:
    """Fill a setting that older rows lack with its default."""
    if column.name not in DEFAULTS:
        return column
    return column.fillna(DEFAULTS[str(column.name)])
