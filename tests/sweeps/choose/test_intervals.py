"""Intervals of means and shares, against numbers worked by hand."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, logit

from sweeps.choose.intervals import mean_interval, share_interval


def test_student_s_interval_of_three_values() -> None:
    mean, low, high = mean_interval(pd.Series([1.0, 2.0, 3.0, np.nan]))
    assert (mean, low, high) == pytest.approx(
        (2.0, 2 - 2.484138, 2 + 2.484138), abs=1e-5
    )  # 4.302653 / sqrt(3)
    assert np.isnan(mean_interval(pd.Series([1.0]))[1])
    assert np.isnan(mean_interval(pd.Series([], dtype=float))[0])


def test_the_interval_of_a_share_stays_in_its_range() -> None:
    """On the plain scale Student's interval of these is [.79, 1.12]."""
    near_one = share_interval(pd.Series([0.88, 0.999, 0.99]), 3000)
    assert 0 < near_one.low < near_one.mean < near_one.high < 1
    logits = logit(np.array([0.6, 0.7, 0.8]))
    half = 4.302653 * logits.std(ddof=1) / np.sqrt(3)
    found = share_interval(pd.Series([0.6, 0.7, 0.8]), 3000)
    assert found.mean == pytest.approx(0.7)
    assert found.low == pytest.approx(expit(logits.mean() - half), abs=1e-6)
    assert found.high == pytest.approx(expit(logits.mean() + half), abs=1e-6)


def test_seeds_that_agree_at_zero_do_not_show_zero() -> None:
    """No hit in n tries bounds the share by 1 - .025 ** (1 / n): the rule of three and a bit."""
    none = share_interval(pd.Series([0.0, 0.0, 0.0]), 300)
    assert none == pytest.approx((0, 0, 1 - 0.025 ** (1 / 300)))
    every = share_interval(pd.Series([1.0, 1.0]), 20)
    assert every == pytest.approx((1, 0.025 ** (1 / 20), 1))
    one = share_interval(pd.Series([0.0, 0.0, 0.003]), 3000)
    assert one.low == 0
    assert one.high == pytest.approx(0.001 + 4.302653 * 0.001, abs=1e-6)
    assert np.isnan(share_interval(pd.Series([0.5]), 100).low)


def test_an_infinite_score_has_an_infinite_mean_without_bounds() -> None:
    below = mean_interval(pd.Series([-np.inf, 1.0, 2.0]))
    both = mean_interval(pd.Series([-np.inf, np.inf]))

    assert below.mean == -np.inf
    assert np.isnan([below.low, below.high, *both]).all()
