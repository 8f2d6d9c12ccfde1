"""The cost of a plan, if a training step takes one second."""

import pytest

from sweeps.plan.cost import StepTimer
from tests.sweeps import builders as make


@pytest.fixture
def timer(monkeypatch: pytest.MonkeyPatch) -> StepTimer:
    monkeypatch.setattr(StepTimer, "step", lambda *_: 1.0)
    return StepTimer()


GENERATOR = {"models": "cvae-mlp", "method": "selective-amnesia"}


def test_an_artifact_costs_its_training_steps(timer: StepTimer) -> None:
    train = {"steps": 30, "expert_steps": 7, "fisher_samples": 1000, "judge_steps": 20}
    problem = make.problem(**GENERATOR, train=train)
    assert timer.of_recipe(problem.original) == timer.of_recipe(problem.oracle) == 30
    assert timer.of_recipe(problem.expert) == 7
    assert timer.of_recipe(problem.fisher) == 2 * 1.5  # two batches of 500
    assert [timer.of_recipe(judge) for judge in problem.judges.values()] == [2 * 20] * 4


@pytest.mark.parametrize(
    ("changes", "steps", "images"),
    [
        ({"unlearn": {"steps": 30}}, 30, 5000),
        ({"method": "task-arithmetic"}, 0, 5000),  # closed form
        # a batch to forget and one to replay; 40 images of each of ten labels, val and test
        ({**GENERATOR, "unlearn": {"steps": 30}, "eval": {"samples": 40}}, 2 * 30, 800),
    ],
)
def test_a_cell_costs_its_steps_and_the_images_that_judge_it(
    changes: dict[str, object], steps: int, images: int, timer: StepTimer
) -> None:
    reading = images / 500 / 3  # a third of a training step per batch of 500
    assert timer.of_cell(make.cell(**changes)) == pytest.approx(steps + reading)
