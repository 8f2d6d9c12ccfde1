"""A plan and its cost in words."""

import pytest

from sweeps.plan.describe import duration


@pytest.mark.parametrize(("seconds", "text"), [(42, "42 s"), (90, "2 min"), (7200, "2.0 h")])
def test_a_duration_has_one_unit(seconds: float, text: str) -> None:
    assert duration(seconds) == text
