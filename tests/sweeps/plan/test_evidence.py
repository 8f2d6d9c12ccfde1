"""What artifacts and cells take: from rows, cards, calibration, else operations."""

import json
import statistics
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from sweeps.plan import operations
from sweeps.plan.timings import (
    CALIBRATION,
    KEPT,
    Kind,
    Rates,
    add_to_calibration,
    rates_of_cards,
    read_calibration,
)
from tests.sweeps import builders as make
from tests.sweeps.builders import timed_card as card
from tests.sweeps.builders import timed_row as row

TUNED = {"unlearn": {"steps": 30}, "seeds": [0, 1]}
TRAIN = Kind("train", "mnist5k", "cnn", 64, "cpu")


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
