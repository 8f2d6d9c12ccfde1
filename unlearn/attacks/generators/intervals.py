"""Confidence intervals of a share, and of the difference of two shares."""

from math import sqrt

from unlearn.errors import require

Z95 = 1.959963984540054  # the normal distribution's 97.5 % point
Interval = tuple[float, float]


def wilson(hits: float, trials: float) -> Interval:
    """Compute the 95 % score interval of the share hits / trials (Wilson 1927).

    Always inside [0, 1], also where `hits` is 0 or `trials`.
    """
    require(
        trials >= 1 and 0 <= hits <= trials,
        f"{hits} hits of {trials} trials is no share; give 0 <= hits <= trials and trials >= 1",
    )
    share, square = hits / trials, Z95 * Z95
    scale = 1 + square / trials
    middle = (share + square / (2 * trials)) / scale
    variance = share * (1 - share) / trials + square / (4 * trials * trials)
    half = Z95 * sqrt(variance) / scale
    low, high = min(share, middle - half), max(share, middle + half)
    return max(0.0, low), min(1.0, high)


def difference(hits: float, trials: float, other_hits: float, other_trials: float) -> Interval:
    """Compute the 95 % interval of hits / trials - other_hits / other_trials.

    The samples are independent (Newcombe 1998, method 10).
    """
    low, high = wilson(hits, trials)
    other_low, other_high = wilson(other_hits, other_trials)
    share, other = hits / trials, other_hits / other_trials
    down = sqrt((share - low) ** 2 + (other_high - other) ** 2)
    up = sqrt((high - share) ** 2 + (other - other_low) ** 2)
    return share - other - down, share - other + up
