"""The cost of a plan by the clock, on the slots that there are; nothing trains."""

from pathlib import Path
from typing import Any

import pytest

from sweeps.plan.cost import makespan, slots_for
from sweeps.plan.describe import describe
from sweeps.spec.sections import Resources
from tests.sweeps import builders as make
from tests.sweeps.builders import timed_card as card
from tests.sweeps.builders import timed_row as row
from unlearn.errors import BadInput


def test_a_plan_trains_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a training step")

    monkeypatch.setattr("torch.Tensor.backward", refuse)
    monkeypatch.setattr("torch.autograd.grad", refuse)
    generator = {"models": "cvae-mlp", "method": "selective-amnesia"}
    for changes in (generator, {"method": ["scrub", "ssd", "salun"]}):
        plan = make.plan(tmp_path, make.sweep(**changes))
        cost = make.cost(tmp_path, plan)
        assert cost.sources.keys() == {"a count of operations"}
        assert "100% a count of operations" in describe(plan, cost)


def test_a_model_that_cannot_take_the_images_is_refused(tmp_path: Path) -> None:
    plan = make.plan(tmp_path, make.sweep(models="vgg11_bn"))
    with pytest.raises(BadInput, match="vgg11_bn cannot take 64 images of mnist5k, 1 x 28 x 28"):
        make.cost(tmp_path, plan)


def test_artifacts_wait_for_what_they_need_and_for_a_slot() -> None:
    original = make.recipe("original")
    expert = make.recipe("expert", original, forget=(1,))
    oracle = make.recipe("oracle", forget=(1,))
    made = (original, expert, oracle)
    assert makespan(made, [4.0, 2.0, 3.0], slots=1) == 9.0
    assert makespan(made, [4.0, 2.0, 3.0], slots=2) == 7.0  # oracle after original or expert
    assert makespan(made, [4.0, 2.0, 3.0], slots=3) == 6.0  # original, then expert
    assert makespan((), [], slots=2) == 0.0


def test_wall_time_is_a_range_around_the_seconds_of_all_slots(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1, 2, 3}, raising=False)
    row(tmp_path, "s", 0.0, 60.0, unlearn={"steps": 1}, seeds=[9])
    card(tmp_path, "original", "a", 0.0, steps=100, batch=64)
    plan = make.plan(tmp_path, make.sweep(unlearn={"steps": 1}, seeds=[0, 1], resources={"cpu": 2}))
    cost = make.cost(tmp_path, plan)
    assert cost.slots.count == 2
    low, high = cost.wall_s
    assert low == pytest.approx(5 + 120 / 2 / 1.5)
    assert high == pytest.approx(20 + 120 / 2 * 1.5)
    assert "on 2 slots of this machine" in describe(plan, cost)


def test_a_gpu_is_shared_out_and_a_cluster_counts_its_own_slots(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert slots_for(Resources(cpu=1, gpu=0.25)).count == 8
    assert slots_for(Resources(cpu=2, gpu=0.25)).count == 4
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    lacking = slots_for(Resources(cpu=1, gpu=0.1))
    assert (lacking.count, "lacks" in lacking.where) == (10, True)
    assert slots_for(Resources(cpu=16)).count == 1
    assert "cluster" in slots_for(Resources(), joining=True).where
