from math import sqrt

import pytest

from unlearn.attacks.generators.intervals import Z95, difference, wilson
from unlearn.errors import BadInput


@pytest.mark.parametrize(("hits", "trials"), [(1, 9), (5, 10), (30, 37), (999, 1000)])
def test_wilson_ends_solve_the_score_equation(hits: int, trials: int) -> None:
    """Its ends are where |share - p| is exactly 1.96 standard errors computed at p."""
    for p in wilson(hits, trials):
        assert abs(hits / trials - p) == pytest.approx(Z95 * sqrt(p * (1 - p) / trials), rel=1e-9)


def test_wilson_at_the_ends_by_closed_form() -> None:
    assert wilson(0, 10) == pytest.approx((0, Z95**2 / (10 + Z95**2)))
    assert wilson(10, 10) == pytest.approx((10 / (10 + Z95**2), 1))


def test_newcombes_own_example() -> None:
    """Newcombe 1998, table II (a), method 10: 56/70 - 48/80 is 0.2 with 0.0524 to 0.3339."""
    assert difference(56, 70, 48, 80) == pytest.approx((0.0524, 0.3339), abs=5e-5)


def test_a_difference_turned_round_changes_sign() -> None:
    low, high = difference(3, 20, 9, 50)
    assert difference(9, 50, 3, 20) == pytest.approx((-high, -low))


@pytest.mark.parametrize(("hits", "trials"), [(1, 0), (3, 2), (-1, 5)])
def test_no_share_no_interval(hits: int, trials: int) -> None:
    with pytest.raises(BadInput, match="is no share"):
        wilson(hits, trials)
