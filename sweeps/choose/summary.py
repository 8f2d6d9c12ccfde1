"""Turn chosen cells into claims: means with intervals over seeds, and methods in pairs.

Each seed trains its own original and repeats unlearning and sampling, so seeds are independent
observations. The forget sets of one seed share its original: they are averaged first.

What every interval is conditioned on: one cut of val, which chose the cells; one test set, and for
generators one panel of judges, which all seeds share. It covers another seed, not another test set,
cut or panel. Where rows hold the readings of an independent judge (`eval: {referee: DATASET}`), the
interval of a judged share spans both judges' intervals.
"""

from itertools import combinations

import numpy as np
import pandas as pd
from scipy import stats

from sweeps.choose.choice_cost import saving
from sweeps.choose.choose import choose
from sweeps.choose.comparable import differing_settings, forget_texts
from sweeps.choose.intervals import MeanInterval, is_share, mean_interval, share_interval

# Counts of relearning steps, null where the goal was not reached -> the column that is null where
# relearning was not tried.
NULL_WHERE_NOT_REACHED = {
    prefix + column: f"{prefix}relearn_steps"
    for prefix in ("", "rehearsed_")
    for column in (
        "relearn_batches_points",
        "relearn_batches_relative",
        "ain_points",
        "ain_relative",
    )
}
IMAGES = {  # column of a share -> column with the number of images that it is taken over
    "forget_probability": "forget_images",
    "forget_accuracy": "forget_images",
    "forget_any_probability": "forget_images",
    "forget_any_accuracy": "forget_images",
    "retain_accuracy": "retain_images",
    "retain_leak_probability": "retain_images",
    "retain_leak_accuracy": "retain_images",
    "test_forget_accuracy": "test_forget_images",
    "test_forget_any_accuracy": "test_forget_images",
    "test_retain_accuracy": "test_retain_images",
    "test_retain_leak_accuracy": "test_retain_images",
}
# Columns of `chosen_cells` that no row holds: seconds of the artifacts that the method needs and of
# all cells that were tried, the chosen one among them.
DERIVED = ("total_s",)
PROBLEM = ["model", "forget", "seed"]  # the columns that tell problems of one data set apart


def chosen_cells(rows: pd.DataFrame) -> pd.DataFrame:
    """Choose on val one row per method, model, forget set and seed.

    Leaves out failed cells, and candidates that still wait for their full score. `forget` becomes
    text, and `bound` names the knobs that were recorded to lie at an end of their range. Where
    cells of one model were trained or scored in several settings, the model's name gets the setting
    appended, so that each setting counts as a model of its own. Adds `total_s` of `DERIVED`; the
    oracle's seconds stand beside those of unlearning.
    """
    good = rows[rows["status"] == "ok"]
    models = good["model"] + differing_settings(good)
    good = good.assign(forget=forget_texts(good), model=models)
    tried = [cells for _, cells in good.groupby(["method", *PROBLEM])]
    choices = [choose(cells) for cells in tried]
    chosen = pd.DataFrame([choice.row for choice in choices]).reindex(columns=good.columns)
    if {"needs_s", "unlearn_s", "oracle_s"} <= set(good.columns):
        totals = []
        for cells, choice in zip(tried, choices, strict=True):
            totals.append(saving(cells, choice.row).in_all)
        chosen["total_s"] = pd.Series(totals, chosen.index, dtype=float)
        chosen["oracle_total_s"] = chosen["oracle_unlearn_s"] = chosen["oracle_s"]
    chosen["bound"] = pd.Series([choice.bound for choice in choices], chosen.index, dtype=object)
    scored = chosen[chosen["eval_candidates"] != "val"]
    return scored.reset_index(drop=True)


def _with_referee(
    interval: MeanInterval, table: pd.DataFrame, prefix: str, column: str
) -> MeanInterval:
    """Widen the interval to span that of the independent judge's readings, where there are any."""
    other = f"{prefix}referee_{column}"
    if other not in table or table[other].isna().all():
        return interval
    readings = table.groupby("seed")[other].mean()
    low, high = interval.low, interval.high
    referee = share_interval(readings, _trials(table, column))
    bounds = [referee.mean, low, high, interval.mean, referee.low, referee.high]
    return MeanInterval(interval.mean, float(np.nanmin(bounds)), float(np.nanmax(bounds)))


def _trials(table: pd.DataFrame, column: str) -> float:
    """Count the images behind a column of shares, over all cells; the cells, where unknown."""
    counts = table.get(IMAGES.get(column, ""))
    if counts is None or counts.isna().any():
        return float(len(table))
    return float(counts.sum())


def same_forget_sets(table: pd.DataFrame) -> bool:
    """Tell whether all seeds have the same forget sets: else their means are of unlike things."""
    sets = {frozenset(cells["forget"]) for _, cells in table.groupby("seed")}
    return len(sets) <= 1


def summary(chosen: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    """Summarise `chosen_cells`: per model a line per method, and one each for the references.

    `second oracle` is an oracle of another seed, where the sweep asked for one: a method that is as
    far from the oracle as that cannot be told from it.

    Every line holds `model`, `method`, `cells`, `seeds`, and per column the mean over seeds of the
    mean over forget sets, with `<column>_low` and `<column>_high`, Student's 95 % interval over
    seeds, or that of `share_interval`. Where the seeds have unequal forget sets, the line holds
    `unequal` and no means: one more easy class would move them. For columns of
    `NULL_WHERE_NOT_REACHED` it also holds in how many cells relearning was tried
    (`<column>_tried`) and in how many it missed its goal (`<column>_unreached`).
    """
    lines = []
    for model, of_model in chosen.groupby("model"):
        # A reference's score is the same in every method's cell; some cells may lack it. `first`
        # returns a fragmented table, of which pandas warns; `copy` joins its pieces.
        references = of_model.groupby(PROBLEM).first().copy().reset_index()
        tables = [("original", "original_", references)]
        tables += [(str(method), "", cells) for method, cells in of_model.groupby("method")]
        tables += [("oracle", "oracle_", references)]
        if any(f"second_oracle_{column}" in _valued(references) for column in columns):
            tables += [("second oracle", "second_oracle_", references)]
        for name, prefix, table in tables:
            line: dict[str, object] = {"model": model, "method": name}
            line |= {"cells": len(table), "seeds": table["seed"].nunique()}
            line["unequal"] = not same_forget_sets(table)
            for column in columns:
                if prefix + column in table:
                    line |= _summarised(table, prefix, column)
            lines.append(line)
    return pd.DataFrame(lines)


def _valued(table: pd.DataFrame) -> set[str]:
    """Return the names of the columns that hold a value."""
    return set(table.columns[table.notna().any()])


def _summarised(table: pd.DataFrame, prefix: str, column: str) -> dict[str, object]:
    """Return the entries of one column in one line of `summary`."""
    by_seed = table.groupby("seed")[prefix + column].mean()
    interval = mean_interval(by_seed)
    if is_share(column):
        interval = share_interval(by_seed, _trials(table[table[prefix + column].notna()], column))
        interval = _with_referee(interval, table, prefix, column)
    if not same_forget_sets(table):
        interval = MeanInterval(np.nan, np.nan, np.nan)
    found: dict[str, object] = {
        column: interval.mean,
        f"{column}_low": interval.low,
        f"{column}_high": interval.high,
    }
    if column in NULL_WHERE_NOT_REACHED:
        tried = table[table[NULL_WHERE_NOT_REACHED[column]].notna()]
        found[f"{column}_tried"] = len(tried)
        found[f"{column}_unreached"] = int(tried[prefix + column].isna().sum())
    return found


def paired(chosen: pd.DataFrame, column: str) -> pd.DataFrame:
    """Compare every two methods on the cells (model x forget set x seed) that both have.

    Takes `chosen_cells`. Every line holds two methods, the `cells` and `seeds` that they share (at
    least two seeds), the mean difference over seeds with its 95 % interval, the p of a t-test of
    the seeds' mean differences, and p after Holm's correction over all pairs (Holm 1979). Both p
    are nan where all differences are equal.
    """
    scores = chosen.pivot_table(index=PROBLEM, columns="method", values=column)
    lines = []
    for method, other in combinations(scores.columns, 2):
        differences = (scores[method] - scores[other]).dropna()
        by_seed = differences.groupby("seed").mean()
        if len(by_seed) < 2:
            continue
        shared = (method, other, len(differences), len(by_seed))
        lines.append((*shared, *mean_interval(by_seed), _t_test(by_seed)))
    names = ["method", "against", "cells", "seeds", "difference", "low", "high", "p"]
    found = pd.DataFrame(lines, columns=names)
    p = found["p"].to_numpy(dtype=float)
    return found.assign(p_holm=holm(p))


def _t_test(differences: pd.Series) -> float:
    """Two-sided p of a t-test against 0; nan where all are equal or one is infinite."""
    if not np.isfinite(differences).all() or np.isclose(differences.std(ddof=1), 0):
        return np.nan
    return float(stats.ttest_1samp(differences, 0).pvalue)


def holm(p: np.ndarray) -> np.ndarray:
    """Adjust p-values by Holm's step-down procedure, and keep their order.

    Each result is at least its p and at most 1. A nan stays nan and does not count as a test.
    """
    made = np.count_nonzero(~np.isnan(p))
    order = np.argsort(p)[:made]  # nan sorts last
    factors = np.arange(made, 0, -1)
    raised = np.maximum.accumulate(p[order] * factors)
    adjusted = np.full_like(p, np.nan)
    adjusted[order] = np.minimum(raised, 1.0)
    return adjusted
