"""Our schedules against torch's, step by step."""

from itertools import islice

import pytest
import torch
from torch import nn

from unlearn.train import OPTIMIZERS, SCHEDULES, Schedule, rates


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("steps", [1, 4, 5, 50])
def test_rates_are_those_that_torch_sets(steps: int, schedule: str, optimizer: str) -> None:
    plan = Schedule(steps, 1, 0.4, schedule, optimizer=optimizer)
    made = OPTIMIZERS[optimizer]([nn.Parameter(torch.zeros(()))], plan)
    scheduler = SCHEDULES[schedule](made, plan)
    (group,) = made.param_groups
    found = []
    for _ in range(steps):
        momentum = group["betas"][0] if "betas" in group else group["momentum"]
        found.append((group["lr"], momentum))
        made.step()
        scheduler.step()
    ours = list(islice(rates(plan), steps))
    assert torch.tensor(ours) == pytest.approx(torch.tensor(found), rel=1e-6, abs=1e-9)


def test_one_cycle_rises_for_a_fifth_and_then_falls_to_almost_nothing() -> None:
    found = list(islice(rates(Schedule(99, 1, 1.0, "one-cycle")), 99))
    assert found[0] == pytest.approx((1 / 25, 0.95))
    assert found[19] == pytest.approx((1.0, 0.85))  # step 0.2 * 100 - 1
    assert found[98][0] < 1e-2
