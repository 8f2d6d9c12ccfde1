"""Turn chosen cells into claims: means with intervals over seeds, and methods in pairs.

Each seed trains its own original and repeats unlearning and sampling, so seeds are independent
observations. The forget sets of one seed share its original: they are averaged first.

What every interval is conditioned on: one cut of val, which chose the cells; one test set, and for
generators one panel of judges, which all seeds share. It covers another seed, not another test set,
cut or panel. Where rows hold the readings of an independent judge (`eval: {referee: DATASET}`), the
interval of a judged share spans both judges' intervals.
"""

from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import special, stats

from sweeps.choose.choose import choose, spent
from sweeps.choose.comparable import (
    differing_settings,
    filled,
    forget_texts,
    making_columns,
)
from sweeps.compute.candidates import selection_score

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
SHARES = (  # endings of the columns whose values lie in [0, 1]
    "_accuracy",
    "_probability",
    "_rate",
    "_auc",
    "_efficacy",
    "_1fpr",
    "_precision",
    "_recall",
    "_coverage",
)
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
# (forget, retain) as reported: of classifiers, of generators
TESTED = ("test_forget_accuracy", "test_retain_accuracy")
GENERATED = ("forget_probability", "retain_accuracy")


class MeanInterval(NamedTuple):
    """A mean and the bounds of its 95 % interval; a bound is nan where it is unknown."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class SecondsSpent:
    """The cost of a choice in seconds.

    unlearning: the chosen cell's unlearning alone
    in_all: that with the artifacts that it needs and every cell of its method that was tried
    retraining: training the oracle
    """

    unlearning: float
    in_all: float
    retraining: float

    @property
    def saved(self) -> float:
        """The share of the seconds of retraining that was saved; negative where more was spent."""
        return 1 - self.in_all / self.retraining


def chosen_cells(rows: pd.DataFrame) -> pd.DataFrame:
    """Choose on val one row per method, model, forget set and seed.

    Leaves out failed cells, and candidates that still wait for their full score. `forget` becomes
    text, and `bound` names the knobs that lie at an end of the values tried. Where cells of one
    model were trained or scored in several settings, the model's name gets the setting appended, so
    that each setting counts as a model of its own. Adds `total_s` of `DERIVED`; the oracle's
    seconds stand beside those of unlearning.
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


def mean_interval(values: pd.Series) -> MeanInterval:
    """Return the mean of `values` and its Student's 95 % interval; nulls are left out.

    The bounds are nan below two values, and equal the mean where all values are equal. A value that
    is infinite makes the mean infinite, without bounds.
    """
    known = values.dropna().to_numpy(dtype=float)
    n = len(known)
    if n == 0:
        return MeanInterval(np.nan, np.nan, np.nan)
    with np.errstate(invalid="ignore"):  # inf and -inf together have no mean
        mean = float(known.mean())
    if n == 1 or not np.isfinite(known).all():
        return MeanInterval(mean, np.nan, np.nan)
    quantile = stats.t.ppf(0.975, n - 1)
    half = float(quantile * known.std(ddof=1) / np.sqrt(n))
    return MeanInterval(mean, mean - half, mean + half)


def is_share(column: str) -> bool:
    """Tell whether the column's values lie in [0, 1]."""
    return column.endswith(SHARES)


def share_interval(values: pd.Series, trials: float) -> MeanInterval:
    """Return the mean of shares in [0, 1] and a 95 % interval that stays in [0, 1].

    values: one share per seed; nulls are left out
    trials: number of images (or, where unknown, of cells) that the mean is taken over

    Student's interval of the logits where all values lie strictly inside (0, 1) and differ. Else
    Student's interval, clipped, and widened to that of Clopper and Pearson (1934) for `trials`
    tries: three seeds at exactly 0 do not show that the share is 0. The bounds are nan below two
    values.
    """
    plain = mean_interval(values)
    if np.isnan(plain.low):
        return plain
    known = values.dropna().to_numpy(dtype=float)
    inside = bool((known > 0).all() and (known < 1).all())
    if inside and not np.isclose(known.std(ddof=1), 0, atol=1e-12):
        logits = mean_interval(pd.Series(special.logit(known)))
        low, high = special.expit(logits.low), special.expit(logits.high)
        # The mean of the shares is not the share of the mean logit; the interval holds both.
        return MeanInterval(plain.mean, min(low, plain.mean), max(high, plain.mean))
    low, high = clopper_pearson(plain.mean * trials, trials)
    return MeanInterval(plain.mean, min(low, max(plain.low, 0.0)), max(high, min(plain.high, 1.0)))


def clopper_pearson(hits: float, trials: float) -> tuple[float, float]:
    """Return the exact 95 % interval of a share, from `hits` of `trials` (Clopper, Pearson 1934).

    Both may be fractions: a mean probability times the number of images.
    """
    misses = trials - hits
    low = float(stats.beta.ppf(0.025, hits, misses + 1)) if hits > 0 else 0.0
    high = float(stats.beta.ppf(0.975, hits + 1, misses)) if misses > 0 else 1.0
    return low, high


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


def regret(rows: pd.DataFrame, chosen: pd.Series) -> float | None:
    """Return the score on test that was lost by choosing on val instead of on test.

    That is the best score of any cell minus the chosen cell's. The score is retain - 1.5 forget, as
    `choose.score` computes it on val. Where candidates were read on val alone, returns the chosen
    row's own `selection_regret`, which compares the candidates of its method. Returns None if the
    row has none, or if other candidates were tried since.
    """
    finished = rows[rows["status"] == "ok"]
    candidates = finished[finished["eval_candidates"] == "val"]
    if len(candidates):
        of_method = int((candidates["method"] == chosen["method"]).sum())
        known = chosen["selection_regret"] if chosen["tuning_candidates"] == of_method else None
        return None if pd.isna(known) else float(known)
    forget, retain = GENERATED if chosen["task"] == "generator" else TESTED
    scores = selection_score(finished[forget], finished[retain])
    own = selection_score(chosen[forget], chosen[retain])
    return float(scores.max() - own)


def saving(rows: pd.DataFrame, chosen: pd.Series) -> SecondsSpent:
    """Add up the seconds behind the chosen row: all cells of its method in the problem's `rows`."""
    tried = rows[rows["method"] == chosen["method"]]
    # A cell with three experts uses the first three of five, so their number makes no new artifact.
    names = [name for name in making_columns(chosen["method"]) if name != "train_experts"]
    made = [filled(tried[name]) for name in names if name in tried]
    needs = float(chosen["needs_s"])
    if made:
        needs = float(tried.groupby(made)["needs_s"].max().sum())
    return SecondsSpent(
        unlearning=float(chosen["unlearn_s"]),
        in_all=needs + spent(tried),
        retraining=float(chosen["oracle_s"]),
    )
