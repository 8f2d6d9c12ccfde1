"""From chosen cells to claims: means with intervals over forget sets and seeds, and paired comparisons of methods."""

from itertools import combinations

import numpy as np
import pandas as pd
from scipy import stats

from sweeps.choose import FORGET_WEIGHT, choose

REFERENCES = {"original": "original_", "oracle": "oracle_"}
UNIT = ["model", "forget", "seed"]  # one independent triple: its seed trains, unlearns and draws anew


def chosen_cells(rows: pd.DataFrame) -> pd.DataFrame:
    """One row a method x model x forget set x seed: the cell that val chooses; failed cells never, nor candidates that
    still wait for their full score."""
    good = rows[rows["status"] == "ok"].assign(forget=rows["forget"].map(lambda labels: ",".join(map(str, labels))))
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
    """A line a method, and one for original and oracle, of every model: `n` cells, and per column the mean with
    `<column>_low` and `<column>_high`."""
    chosen, lines = chosen_cells(rows), []
    for model, of_model in chosen.groupby("model"):
        once = of_model.drop_duplicates(UNIT)
        tables = [("original", "original_", once)]
        tables += [(str(method), "", group) for method, group in of_model.groupby("method")]
        tables += [("oracle", "oracle_", once)]
        for name, prefix, table in tables:
            line: dict[str, object] = {"model": model, "method": name, "n": len(table)}
            for column in columns:
                values = table.get(prefix + column)
                if values is not None:
                    parts = mean_interval(values)
                    line |= dict(zip((column, f"{column}_low", f"{column}_high"), parts, strict=True))
            lines.append(line)
    return pd.DataFrame(lines)


def paired(rows: pd.DataFrame, column: str) -> pd.DataFrame:
    """Every two methods on the model x forget x seed triples that both have: mean difference, its 95 % interval, the
    p of a paired t-test, and p after Holm's correction over all pairs (Holm 1979)."""
    table = chosen_cells(rows).pivot_table(index=UNIT, columns="method", values=column)
    lines = []
    for one, other in combinations(table.columns, 2):
        both = table[[one, other]].dropna()
        if len(both) < 2:
            continue
        gap = both[one] - both[other]
        mean, low, high = mean_interval(gap)
        alike = bool(np.isclose(gap.std(ddof=1), 0))
        p = (1.0 if np.isclose(mean, 0) else 0.0) if alike else float(stats.ttest_rel(both[one], both[other]).pvalue)
        lines.append({"method": one, "against": other, "n": len(both), "difference": mean, "low": low, "high": high,
                      "p": p})  # fmt: skip
    found = pd.DataFrame(lines, columns=["method", "against", "n", "difference", "low", "high", "p"])
    return found.assign(p_holm=holm(found["p"].to_numpy(dtype=float)))


def holm(p: np.ndarray) -> np.ndarray:
    """Holm's step-down adjusted p-values, in the order given; each at least its p, at most 1."""
    order = np.argsort(p)
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)) if len(p) else p
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted


def regret(rows: pd.DataFrame, chosen: pd.Series) -> float | None:
    """What choosing on val cost on test: the best test score (`choose.score` of test) of any cell minus the chosen's.
    None where candidates were read on val alone: then nobody knows test's best."""
    if (rows["eval_candidates"] == "val").any():
        return None
    generator = chosen["task"] == "generator"
    forget, retain = ("forget_probability", "retain_accuracy") if generator else TESTED
    scores = (rows[retain] - FORGET_WEIGHT * rows[forget])[rows["status"] == "ok"]
    return float(scores.max() - (chosen[retain] - FORGET_WEIGHT * chosen[forget]))


def saving(rows: pd.DataFrame, chosen: pd.Series) -> tuple[float, float, float]:
    """(seconds of unlearning alone, seconds with what it needs and every cell tried to tune it, seconds of retraining):
    of the chosen row among `rows`, those of its own method; shares saved are 1 - either / the last."""
    tried = rows[(rows["status"] == "ok") & (rows["method"] == chosen["method"])]
    tuning = float((tried["unlearn_s"] + tried["evaluate_s"]).sum())
    return float(chosen["unlearn_s"]), float(chosen["needs_s"]) + tuning, float(chosen["oracle_s"])


TESTED = ("test_forget_accuracy", "test_retain_accuracy")
