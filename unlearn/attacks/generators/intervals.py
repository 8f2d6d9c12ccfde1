"""Confidence intervals of shares, and of the difference of two."""

from math import sqrt

from unlearn.errors import require

Z95 = 1.959963984540054  # the normal distribution's 97.5 % point
Interval = tuple[float, float]


def wilson(hits: float, trials: float) -> Interval:
    """95 % score interval of a share hits / trials (Wilson 1927); always inside [0, 1], also at 0 and at `trials`."""
    require(
        trials >= 1 and 0 <= hits <= trials,
        f"{hits} hits of {trials} trials is no share; need 0 <= hits <= n",
    )
    share, square = hits / trials, Z95 * Z95
    middle = (share + square / (2 * trials)) / (1 + square / trials)
    half = (
        Z95
        * sqrt(share * (1 - share) / trials + square / (4 * trials * trials))
        / (1 + square / trials)
    )
    return max(0.0, min(share, middle - half)), min(1.0, max(share, middle + half))


def difference(hits: float, trials: float, other_hits: float, other_trials: float) -> Interval:
    """95 % interval of hits / trials - other_hits / other_trials, independent samples (Newcombe 1998, method 10)."""
    (low, high), (other_low, other_high) = wilson(hits, trials), wilson(other_hits, other_trials)
    share, other = hits / trials, other_hits / other_trials
    down = sqrt((share - low) ** 2 + (other_high - other) ** 2)
    up = sqrt((high - share) ** 2 + (other - other_low) ** 2)
    return share - other - down, share - other + up
