"""Counted operations, and the seconds that follow from them."""

from typing import Any

import pytest

from sweeps.plan import operations
from tests.sweeps import builders as make


@pytest.mark.parametrize(
    ("dataset", "model"),
    [
        *(
            ("mnist5k", name)
            for name in ("cvae-mlp", "cvae-conv", "cnn", "deep", "official", "patch")
        ),
        *(("cifar10", name) for name in ("resnet18", "mobilenet_v2", "cvae-conv")),
    ],
)
def test_layers_of_our_networks_count_what_torchs_counter_does(dataset: str, model: str) -> None:
    device = "cpu" if dataset == "mnist5k" or model == "cvae-conv" else "meta"
    wanted = operations.count_operations(dataset, model, (), 2, device)
    assert operations.count(dataset, model, (), 2) == pytest.approx(wanted)


@pytest.mark.parametrize("model", operations.COUNTED)
def test_the_table_of_operations_holds_what_counting_gives(model: str) -> None:
    assert operations.operations("cifar10", model) == operations.COUNTED[model]
    assert operations.count("cifar10", model, (), 2) == operations.COUNTED[model]
    in_two_classes = operations.count("cifar10-5k-coarse", model, (), 2)
    assert in_two_classes == pytest.approx(operations.COUNTED[model], rel=2e-4)


def test_the_operations_of_a_linear_network_are_those_of_its_products() -> None:
    """(1024 + 784 + 10) x 512 and so on: two operations per weight of every product."""
    sizes = [(784 + 10, 512), (512, 256), (256, 2 * 32), (32 + 10, 256), (256, 512), (512, 784)]
    from unlearn.models import build

    weights = sum(p.numel() for p in build("cvae-mlp", (1, 28, 28), 10).parameters() if p.ndim == 2)
    counted = operations.operations("mnist5k", "cvae-mlp")
    assert counted == pytest.approx(2 * weights, rel=0.02)
    assert weights == pytest.approx(sum(a * b for a, b in sizes), rel=0.5)


def test_counted_steps_cost_in_proportion_and_a_closed_form_costs_none() -> None:
    short, long = (make.cell(unlearn={"steps": n}) for n in (10, 30))
    seconds = [operations.unlearning_seconds(cell, "cpu") for cell in (short, long)]
    assert seconds[1] == pytest.approx(3 * seconds[0]) != 0
    closed = make.cell(method="task-arithmetic")
    assert operations.unlearning_seconds(closed, "cpu") == 0
    one = make.problem(models="cvae-mlp", method="selective-amnesia").original
    assert operations.making_seconds(one, 2000, "cpu") > operations.making_seconds(one, 20, "cpu")


@pytest.mark.parametrize(
    ("method", "forget", "steps"),
    [
        ("random-labels", [1], 12),  # 350 images are 6 batches of 64
        ("fine-tune", [1], 100),  # 3,150 are 50
        ("random-labels", [{"random": 0.1}], 12),
    ],
)
def test_a_budget_in_epochs_is_counted_in_steps(method: str, forget: Any, steps: int) -> None:
    cell = make.cell(method=method, forget=forget, unlearn={"epochs": 2.0})
    assert operations.steps_of(cell) == steps
    alike = make.cell(method=method, forget=forget, unlearn={"steps": steps})
    seconds = [operations.unlearning_seconds(one, "cpu") for one in (cell, alike)]
    assert seconds[0] == seconds[1]
