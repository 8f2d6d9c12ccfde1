"""From chosen cells to claims: means with intervals over seeds, and paired comparisons of methods.

A seed trains its original, unlearns and draws anew, so seeds are independent of each other; the forget sets of one seed
share its original and are averaged first.
"""

from itertools import combinations

import numpy as np
import pandas as pd
from scipy import stats

from sweeps.choose.choose import choose, spent
from sweeps.choose.comparable import differing_settings, making_columns
from sweeps.compute.candidates import FORGET_WEIGHT

REFERENCES = {"original": "original_", "oracle": "oracle_"}
COUNTS = (
    "relearn_batches_points",
    "relearn_batches_relative",
    "ain_points",
    "ain_relative",
)  # null: not reached
UNIT = ["model", "forget", "seed"]


def chosen_cells(rows: pd.DataFrame) -> pd.DataFrame:
    """One row a method x model x forget set x seed: the cell that val chooses; failed cells never, nor candidates that
    still wait for their full score. Cells of several settings of a model are several models."""
    good = rows[rows["status"] == "ok"].assign(
        forget=rows["forget"].map(lambda labels: ",".join(map(str, labels)))
    )
    good["model"] += differing_settings(good)
    picked = [choose(group).row for _, group in good.groupby(["method", *UNIT])]
    chosen = pd.DataFrame(picked).reindex(columns=good.columns)
    return chosen[chosen["eval_candidates"] != "val"].reset_index(drop=True)


def mean_interval(values: pd.Series) -> tuple[float, float, float]:
    """(mean, low, high): Student's 95 % interval; nan bounds below two values, no width where all are alike."""
    known = values.dropna().to_numpy(dtype=float)
    if len(known) == 0:
        return np.nan, np.nan, np.nan
    mean = float(known.mean())
    if len(known) == 1:
        return mean, np.nan, np.nan
    half = float(stats.t.ppf(0.975, len(known) - 1) * known.std(ddof=1) / np.sqrt(len(known)))
    return mean, mean - half, mean + half


def summary(rows: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    """A line a method, and one for original and oracle, of every model: `cells`, `seeds`, and per column the mean over
    seeds of the mean over forget sets, with `<column>_low` and `<column>_high`, Student's over seeds; of `COUNTS` also
    in how many cells relearning was tried (`<column>_tried`) and in how many in vain (`<column>_unreached`)."""
    chosen, lines = chosen_cells(rows), []
    for model, of_model in chosen.groupby("model"):
        once = of_model.groupby(
            UNIT, as_index=False
        ).first()  # of each column what any method's cell knows
        tables = [("original", "original_", once)]
        tables += [(str(method), "", group) for method, group in of_model.groupby("method")]
        tables += [("oracle", "oracle_", once)]
        for name, prefix, table in tables:
            line: dict[str, object] = {"model": model, "method": name}
            line |= {"cells": len(table), "seeds": table["seed"].nunique()}
            for column in columns:
                if prefix + column in table:
                    parts = mean_interval(table.groupby("seed")[prefix + column].mean())
                    line |= dict(
                        zip((column, f"{column}_low", f"{column}_high"), parts, strict=True)
                    )
                    if column in COUNTS:
                        tried = table[table["relearn_steps"].notna()]
                        line[f"{column}_tried"] = len(tried)
                        line[f"{column}_unreached"] = int(tried[prefix + column].isna().sum())
            lines.append(line)
    return pd.DataFrame(lines)


def paired(rows: pd.DataFrame, column: str) -> pd.DataFrame:
    """Every two methods on the `cells` (model x forget x seed) that both have, from two seeds on: mean difference, its
    95 % interval, the p of a t-test of the seeds' mean differences, and p after Holm's correction over all pairs (Holm
    1979)."""
    table = chosen_cells(rows).pivot_table(index=UNIT, columns="method", values=column)
    lines = []
    for one, other in combinations(table.columns, 2):
        both = (table[one] - table[other]).dropna()
        gap = both.groupby("seed").mean()
        if len(gap) < 2:
            continue
        mean, low, high = mean_interval(gap)
        alike = bool(np.isclose(gap.std(ddof=1), 0))  # then there is no t
        p = np.nan if alike else float(stats.ttest_1samp(gap, 0).pvalue)
        lines.append((one, other, len(both), len(gap), mean, low, high, p))
    names = ["method", "against", "cells", "seeds", "difference", "low", "high", "p"]
    found = pd.DataFrame(lines, columns=names)
    return found.assign(p_holm=holm(found["p"].to_numpy(dtype=float)))


def holm(p: np.ndarray) -> np.ndarray:
    """Holm's step-down adjusted p-values, in the order given; each at least its p, at most 1. A nan stays one and is
    no test that was made."""
    order = np.argsort(p)[: np.count_nonzero(~np.isnan(p))]  # nan sorts last
    adjusted = np.full_like(p, np.nan)
    adjusted[order] = np.minimum(
        np.maximum.accumulate(p[order] * np.arange(len(order), 0, -1)), 1.0
    )
    return adjusted


def regret(rows: pd.DataFrame, chosen: pd.Series) -> float | None:
    """What choosing on val cost on test: the best test score (`choose.score` of test) of any cell minus the chosen's.
    Of candidates that were read on val alone, the row's own figure, among those of its method; None where it has none,
    or where others were tried since."""
    candidates = rows[(rows["eval_candidates"] == "val") & (rows["status"] == "ok")]
    if len(candidates):
        many = int((candidates["method"] == chosen["method"]).sum())
        own_figure = chosen["selection_regret"] if chosen["tuning_candidates"] == many else None
        return None if pd.isna(own_figure) else float(own_figure)
    generator = chosen["task"] == "generator"
    forget, retain = ("forget_probability", "retain_accuracy") if generator else TESTED
    scores = (rows[retain] - FORGET_WEIGHT * rows[forget])[rows["status"] == "ok"]
    return float(scores.max() - (chosen[retain] - FORGET_WEIGHT * chosen[forget]))


def saving(rows: pd.DataFrame, chosen: pd.Series) -> tuple[float, float, float]:
    """(seconds of unlearning alone, seconds with what was made for it and every cell tried to tune it, seconds of
    retraining): of the chosen row among `rows`, those of its own method; shares saved are 1 - either / the last."""
    tried = rows[rows["method"] == chosen["method"]]
    made = [
        name for name in making_columns(chosen["method"]) if name != "train_experts"
    ]  # three of five are the three
    needs = tried.groupby(made)["needs_s"].max().sum() if made else chosen["needs_s"]
    return float(chosen["unlearn_s"]), float(needs) + spent(tried), float(chosen["oracle_s"])


TESTED = ("test_forget_accuracy", "test_retain_accuracy")
