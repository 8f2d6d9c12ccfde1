"""Means and their 95 % intervals: Student's, and for shares intervals that stay in [0, 1]."""

from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import special, stats

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


class MeanInterval(NamedTuple):
    """A mean and the bounds of its 95 % interval; a bound is nan where it is unknown."""

    mean: float
    low: float
    high: float


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
