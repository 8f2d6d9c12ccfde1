"""The cost of a plan: from rows, cards, calibration, else operations; nothing trains."""

import json
import statistics
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from sweeps.plan import operations
from sweeps.plan.cost import describe, duration, makespan, slots_for
from sweeps.plan.timings import (
    CALIBRATION,
    KEPT,
    Kind,
    Rates,
    add_to_calibration,
    rates_of_cards,
    read_calibration,
)
from sweeps.spec.sweep import Resources
from tests.sweeps import builders as make
from unlearn.errors import BadInput

GENERATOR = {"models": "cvae-mlp", "method": "selective-amnesia"}
TUNED = {"unlearn": {"steps": 30}, "seeds": [0, 1]}
TRAIN = Kind("train", "mnist5k", "cnn", 64, "cpu")


def row(folder: Path, sweep: str, step_s: float, rest_s: float, **changes: Any) -> None:
    """Write the row of the changed spec's first cell: its steps took `step_s` each."""
    cell = make.cells(**changes)[0]
    unlearn_s = step_s * make.knobs(cell)["steps"]
    seconds: dict[str, Any] = {
        "unlearn_s": unlearn_s,
        "attack_s": 0.0,
        "wall_s": unlearn_s + rest_s,
    }
    make.write(make.results(folder), cell, sweep=sweep, device="cpu", **seconds)


def test_a_cell_costs_what_a_row_of_its_sweep_took_whatever_its_steps(tmp_path: Path) -> None:
    row(tmp_path, "s", 0.5, 2.0, unlearn={"steps": 10}, seeds=[0])
    plan = make.plan(tmp_path, make.sweep(**TUNED))
    cost = make.cost(tmp_path, plan)
    assert cost.cells_s == pytest.approx(2 * (30 * 0.5 + 2.0))
    assert cost.cells[0].source == "earlier rows"


def test_cells_of_one_problem_cost_each_its_own_steps(tmp_path: Path) -> None:
    row(tmp_path, "s", 0.5, 2.0, unlearn={"steps": 7}, seeds=[0])
    plan = make.plan(tmp_path, make.sweep(grid={"steps": [10, 30], "lr": [1e-4, 1e-3, 1e-2]}))
    assert make.cost(tmp_path, plan).cells_s == pytest.approx(3 * (10 + 30) * 0.5 + 6 * 2.0)


def test_a_row_tells_what_a_step_of_its_oracle_took(tmp_path: Path) -> None:
    cell = make.cell(train={"steps": 200})
    seconds: dict[str, Any] = {"unlearn_s": 5.0, "wall_s": 7.0, "oracle_s": 50.0}
    make.write(make.results(tmp_path), cell, device="cpu", **seconds)
    cost = make.cost(tmp_path, make.plan(tmp_path, make.sweep(train={"steps": 40})))
    assert [part.seconds for part in cost.artifacts] == pytest.approx([10.0, 10.0])


def test_rows_of_another_sweep_cost_a_step_at_another_batch_in_proportion(tmp_path: Path) -> None:
    row(tmp_path, "other", 0.5, 2.0, unlearn={"steps": 10, "batch": 32})
    plan = make.plan(tmp_path, make.sweep(unlearn={"steps": 30, "batch": 64}))
    cost = make.cost(tmp_path, plan)
    assert cost.cells_s == pytest.approx(30 * 1.0 + 2.0)
    assert cost.sources.keys() == {"rows of other sweeps", "a count of operations"}


def test_a_row_of_a_gpu_or_of_another_model_tells_nothing(tmp_path: Path) -> None:
    cell = make.cell(unlearn={"steps": 10})
    seconds: dict[str, Any] = {"unlearn_s": 5.0, "wall_s": 7.0}
    make.write(make.results(tmp_path), cell, device="cuda", **seconds)
    plan = make.plan(tmp_path, make.sweep(unlearn={"steps": 30}))
    assert make.cost(tmp_path, plan).sources.keys() == {"a count of operations"}


def card(folder: Path, kind: str, key: str, seconds: float, **knobs: Any) -> None:
    facts = {"dataset": "mnist5k", "model": "cnn", "device": "cpu", "knobs": knobs}
    make.store(folder).save(kind, key, {}, {**facts, "seconds": seconds})


def test_an_artifact_costs_what_cards_say_of_training_steps(tmp_path: Path) -> None:
    card(tmp_path, "original", "a", 20.0, steps=100, batch=64)
    card(tmp_path, "oracle", "b", 40.0, steps=100, batch=64)
    card(tmp_path, "expert", "c", 3.0, expert_steps=10, batch=64)
    rates = rates_of_cards(make.store(tmp_path), {"original": [], "oracle": [], "expert": []})
    assert rates.of(TRAIN) == pytest.approx(0.3)  # of 0.2, 0.4 and 0.3
    plan = make.plan(tmp_path, make.sweep(train={"steps": 50}, unlearn={"steps": 10}))
    cost = make.cost(tmp_path, plan)
    assert [part.seconds for part in cost.artifacts] == pytest.approx([0.3 * 50, 0.3 * 50])
    unlearning = cost.sources["artifact cards"] - cost.artifacts_s
    assert unlearning == pytest.approx(0.3 * 10)  # a step of fine-tuning is one of training


def test_a_damaged_card_tells_nothing(tmp_path: Path) -> None:
    card(tmp_path, "original", "a", 20.0, steps=100, batch=64)
    (tmp_path / "store" / "original" / "a" / "card.json").write_text("{")
    assert rates_of_cards(make.store(tmp_path), {"original": ["a"]}).seconds == {}


def rates(kind: Kind, seconds: Iterable[float]) -> Rates:
    found = Rates()
    for value in seconds:
        found.note(kind, value)
    return found


def test_the_calibration_file_keeps_the_newest_measurements_of_every_kind(tmp_path: Path) -> None:
    store = make.store(tmp_path)
    other = Kind("judge", "mnist5k", "deep", 0, "cpu")
    first = [0.1 + i / 1000 for i in range(KEPT)]
    add_to_calibration(store, rates(TRAIN, first))
    add_to_calibration(store, rates(TRAIN, [0.3, 0.4]))
    add_to_calibration(store, rates(TRAIN, [0.3, 0.4]))  # the same rows, read again
    add_to_calibration(store, rates(other, [1.0]))
    known = read_calibration(store)
    assert known.seconds[TRAIN] == [*first[2:], 0.3, 0.4]
    assert known.of(other) == 1.0
    cost = make.cost(tmp_path, make.plan(tmp_path, make.sweep(train={"steps": 50})))
    assert cost.artifacts[0].source == "calibration"
    assert cost.artifacts[0].seconds == pytest.approx(
        50 * statistics.median([*first[2:], 0.3, 0.4])
    )


@pytest.mark.parametrize("text", ["{", "[]", json.dumps([{"work": "train"}])])
def test_a_damaged_calibration_file_is_as_good_as_none(text: str, tmp_path: Path) -> None:
    store = make.store(tmp_path)
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / CALIBRATION).write_text(text)
    assert read_calibration(store).seconds == {}
    add_to_calibration(store, rates(TRAIN, [0.1]))
    assert read_calibration(store).of(TRAIN) == 0.1


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
    one = make.problem(**GENERATOR).original
    assert operations.making_seconds(one, 2000, "cpu") > operations.making_seconds(one, 20, "cpu")


def test_a_plan_trains_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a training step")

    monkeypatch.setattr("torch.Tensor.backward", refuse)
    monkeypatch.setattr("torch.autograd.grad", refuse)
    for changes in (GENERATOR, {"method": ["scrub", "ssd", "salun"]}):
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


@pytest.mark.parametrize(("seconds", "text"), [(42, "42 s"), (90, "2 min"), (7200, "2.0 h")])
def test_a_duration_has_one_unit(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_the_newest_rows_count(tmp_path: Path) -> None:
    """A hundred rows a method at most: more would only cost time."""
    results, now = make.results(tmp_path), datetime.now(UTC)
    cells = make.cells(grid={"steps": [5, 6]})
    for cell, wall_s, age in zip(cells, (2.0, 4.0), (1, 0), strict=True):
        stamp: dict[str, Any] = {"created_at": now - timedelta(hours=age)}
        row_of = make.row(cell, device="cpu", wall_s=wall_s, unlearn_s=0.0, **stamp)
        results.write("s", row_of)
    plan = make.plan(tmp_path, make.sweep(grid={"steps": [5, 6, 7]}))
    assert make.cost(tmp_path, plan).cells_s == pytest.approx(3.0)  # the median


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


def test_rows_by_epochs_cost_an_epoch_and_tell_nothing_of_steps(tmp_path: Path) -> None:
    """Two epochs took 8 s, so five take 20; and a batch twice as large reads as much."""
    cell = make.cell(unlearn={"epochs": 2.0})
    seconds: dict[str, Any] = {"unlearn_s": 8.0, "attack_s": 0.0, "wall_s": 11.0}
    make.write(make.results(tmp_path), cell, sweep="s", device="cpu", **seconds)
    for batch in (64, 128):
        sweep = make.sweep(unlearn={"epochs": 5.0, "batch": batch})
        cost = make.cost(tmp_path, make.plan(tmp_path, sweep))
        assert cost.cells_s == pytest.approx(5 * 4.0 + 3.0)
    by_steps = make.plan(tmp_path, make.sweep(unlearn={"steps": 30}))
    assert "a count of operations" in make.cost(tmp_path, by_steps).sources


def test_experts_by_epochs_cost_their_epochs(tmp_path: Path) -> None:
    card(tmp_path, "expert", "c", 3.0, expert_steps=60, expert_epochs=2.0, batch=64)
    rates = rates_of_cards(make.store(tmp_path), {"expert": []})
    assert rates.of(TRAIN) is None
    kind = Kind("expert by epochs", "mnist5k", "cnn", 64, "cpu")
    assert rates.of(kind) == pytest.approx(1.5)
    problem = make.problem(method="task-arithmetic", forget=[1], train={"expert_epochs": 10.0})
    plain = make.problem(method="task-arithmetic", forget=[1], train={"expert_steps": 60})
    counted = operations.making_seconds
    assert counted(problem.expert, 10.0, "cpu") == counted(plain.expert, 60, "cpu")
