"""What unlearning cost beside retraining, in words."""

import pytest

from sweeps.choose.choice_cost import SecondsSpent
from sweeps.report.sections.cost import beside_retraining


@pytest.mark.parametrize(
    ("in_all", "says"),
    [(12.0, "80% saved"), (60.0, "0% saved"), (617.4, "that is 10.3 times retraining")],
)
def test_more_than_retraining_is_told_as_a_multiple(in_all: float, says: str) -> None:
    assert beside_retraining(SecondsSpent(1.0, in_all, 60.0)) == says
