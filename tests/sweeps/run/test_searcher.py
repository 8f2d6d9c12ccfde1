"""Which packs are handed out when, and when a trial ends."""

from pathlib import Path
from threading import Lock
from types import SimpleNamespace
from typing import Any

import pytest
import ray
from ray import cloudpickle
from ray.tune.schedulers import TrialScheduler

from sweeps.compute.candidates import ValScores
from sweeps.run import tune as tuning
from sweeps.run.resources import slots
from sweeps.run.tune import HoldWhileStarting
from sweeps.spec.sections import Resources
from tests.sweeps import builders as make
from tests.sweeps import packs
from tests.sweeps.run.stand_ins import PENDING, RUNNING, controller, live_trial


def grid(folder: Path, cells: int, **changes: Any) -> Any:
    """A source of so many cells, all of one problem."""
    alphas = [-1.0 * n for n in range(1, cells + 1)]
    document = {"method": "task-arithmetic", "grid": {"alpha": alphas}, **changes}
    [source] = make.sources(folder, make.sweep(**document))
    return source


def test_a_pack_for_every_slot_and_one_more(tmp_path: Path) -> None:
    """Also when a node joins."""
    room = [2]
    searcher = packs.searcher([grid(tmp_path, 9)], lambda needs: room[0])
    asked = {name: packs.ask(searcher, name) for name in "abcd"}
    assert [name for name, pack in asked.items() if pack is None] == ["d"]
    searcher.on_trial_complete("a", packs.result(asked["a"]))
    assert packs.ask(searcher, "e") is not None
    room[0] = 4
    assert [packs.ask(searcher, name) is None for name in "fgh"] == [False, False, True]


@pytest.mark.parametrize(("cells", "size"), [(12, 3), (13, 3), (14, 4)])
def test_a_pack_leaves_cells_for_every_slot(cells: int, size: int, tmp_path: Path) -> None:
    """One cell takes almost no time: the others are divided among four slots, rounded up."""
    searcher = packs.searcher([grid(tmp_path, cells)], slots=4)
    first = packs.ask(searcher, "a")
    searcher.on_trial_complete("a", packs.result(first, wall_s=0.001))
    assert len(packs.ask(searcher, "b").cells) == size


def test_each_kind_of_resources_has_its_own_slots(tmp_path: Path) -> None:
    """A sweep that fills the GPU does not keep another sweep from the CPUs."""
    sources = [grid(tmp_path, 9, name="gpu", resources={"gpu": 1}), grid(tmp_path, 9, name="cpu")]
    searcher = packs.searcher(sources, lambda needs: 1 if needs.gpu else 4)
    asked = [packs.ask(searcher, str(name)) for name in range(9)]
    sweeps = [pack.sweep for pack in asked if pack is not None]
    assert sorted(sweeps) == ["cpu"] * 5 + ["gpu"] * 2


@pytest.mark.parametrize("dies", [False, True])
def test_a_study_hears_of_a_pack_that_is_held_once(
    dies: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once, even if its worker dies afterwards."""
    source = grid(tmp_path, 2)
    heard: list[Any] = []
    monkeypatch.setattr(source, "tell", lambda cell, val, seconds: heard.append(val))
    searcher = packs.searcher([source])
    pack = packs.ask(searcher, "a")
    scores = {"val_forget_accuracy": 0.25, "val_retain_accuracy": 0.75}
    result = packs.result(pack, lambda cell: scores)
    for _ in range(3):
        searcher.on_trial_result("a", result)
    if dies:
        searcher.on_trial_complete("a", error=True)
    else:
        searcher.on_trial_complete("a", packs.result(pack, status="failed"))
    assert heard == [ValScores(0.25, 0.75)]
    assert (searcher.running, searcher.again) == ({}, [])


def test_a_pack_ends_when_no_actor_is_starting(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(tuning, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    hold = HoldWhileStarting()
    running = live_trial(RUNNING, actor="up")
    reset, queued = live_trial(PENDING, "reused", actor="up"), live_trial(PENDING, "waits")
    starting = live_trial(PENDING, "launched")

    def decides(*live: Any) -> str:
        return hold.on_trial_result(controller(live), live[0], {})

    go_on, end = TrialScheduler.CONTINUE, TrialScheduler.STOP
    assert decides(running) == end
    assert decides(running, live_trial(PENDING)) == end  # nobody has looked at it yet
    assert decides(running, reset, queued) == end
    assert decides(running, starting) == go_on
    clock[0] += tuning.START_SECONDS
    assert decides(running, starting) == end  # it takes too long
    assert decides(running) == end
    assert decides(running, starting) == go_on  # another one


@pytest.mark.parametrize(
    ("needs", "found"),
    [
        (Resources(cpu=1, gpu=0), 9),
        (Resources(cpu=2, gpu=0), 4),  # 5 CPU hold two, 4 hold two
        (Resources(cpu=1, gpu=0.1), 5),  # ten by GPU, five by CPU
        (Resources(cpu=0.5, gpu=0.1), 10),
        (Resources(cpu=64, gpu=0), 1),  # waits for a node that can
    ],
)
def test_slots_are_counted_node_by_node(
    needs: Resources, found: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes = [
        {"Alive": True, "Resources": {"CPU": 5.0, "GPU": 1.0}},
        {"Alive": True, "Resources": {"CPU": 4.0}},
        {"Alive": False, "Resources": {"CPU": 64.0, "GPU": 8.0}},
    ]
    monkeypatch.setattr(ray, "nodes", lambda: nodes)
    assert slots(needs) == found


STACKABLE = {
    "models": "cvae-mlp",
    "method": "selective-amnesia",
    "forget": [[0], [1]],
    "grid": {"lam": [1.0, 2.0, 3.0]},
}


@pytest.mark.parametrize(("slots", "size"), [(1, 6), (2, 3), (4, 2)])
def test_cells_that_one_gpu_unlearns_together_come_from_several_sources(
    slots: int, size: int, tmp_path: Path
) -> None:
    """As many as the slot's share of all cells, those that are out already included."""
    sources = make.sources(tmp_path, make.sweep(**STACKABLE, resources={"gpu": 0.25}))
    searcher = packs.searcher(sources, slots=slots)
    asked = [packs.ask(searcher, str(name)) for name in range(6 // size)]
    assert [len(pack.cells) for pack in asked] == [size] * (6 // size)
    assert all(pack.stacked for pack in asked)
    ids = [cell.cell_id for pack in asked for cell in pack.cells]
    assert len(set(ids)) == 6
    assert sum(source.left for source in sources) == 0


def test_each_source_hears_of_its_own_cells_of_a_stacked_pack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = make.sources(tmp_path, make.sweep(**STACKABLE, resources={"gpu": 1}))
    heard: dict[int, set[tuple[int, ...]]] = {0: set(), 1: set()}
    for place, source in enumerate(sources):

        def tell(cell: Any, val: Any, seconds: float, place: int = place) -> None:
            heard[place].add(cell.problem.forget)

        monkeypatch.setattr(source, "tell", tell)
    searcher = packs.searcher(sources)
    pack = packs.ask(searcher, "a")
    searcher.on_trial_complete("a", packs.result(pack))
    assert heard == {0: {(0,)}, 1: {(1,)}}


def test_after_its_workers_death_every_cell_of_a_stacked_pack_is_tried_alone(
    tmp_path: Path,
) -> None:
    sources = make.sources(tmp_path, make.sweep(**STACKABLE, resources={"gpu": 1}))
    searcher = packs.searcher(sources)
    packs.ask(searcher, "a")
    searcher.on_trial_complete("a", error=True)
    again = [packs.ask(searcher, str(name)) for name in range(6)]
    assert [(len(pack.cells), pack.stacked, pack.attempt) for pack in again] == [(1, False, 2)] * 6


def test_without_a_gpu_and_for_other_settings_cells_are_not_stacked(tmp_path: Path) -> None:
    on_cpu = make.sources(tmp_path, make.sweep(**STACKABLE))
    assert not packs.ask(packs.searcher(on_cpu), "a").stacked
    pool = {**STACKABLE, "unlearn": {"replay": "pool"}, "resources": {"gpu": 1}}
    assert not packs.ask(packs.searcher(make.sources(tmp_path, make.sweep(**pool))), "a").stacked


def shared(needs: Resources) -> int:
    """So many slots as a GPU has shares."""
    return round(1 / needs.gpu)


def test_all_sweeps_that_leave_the_share_open_ask_for_the_same(tmp_path: Path) -> None:
    """From the first pack on: four quarters, and the spare pack."""
    auto = {"gpu": "auto", "cells_per_trial": 1}
    sources = [grid(tmp_path, 3, name=name, resources=auto) for name in ("one", "two")]
    searcher = packs.searcher(sources, shared)
    asked = [packs.ask(searcher, name) for name in "abcdef"]
    found = [pack and (pack.sweep, pack.gpu, pack.may_grow) for pack in asked]
    assert found == [("one", 0.25, True)] * 3 + [("two", 0.25, True)] * 2 + [None]


def crowded(pack: Any, done: int) -> dict[str, Any]:
    """The result of a pack whose GPU had too little memory after so many cells."""
    result = packs.result(pack)
    return {**result, "reports": result["reports"][:done], "crowded": True}


def test_cells_that_the_memory_did_not_hold_run_again_with_twice_the_share(
    tmp_path: Path,
) -> None:
    """Only once for all that were out, and when the old share is gone."""
    auto = {"gpu": "auto", "cells_per_trial": 2}
    searcher = packs.searcher([grid(tmp_path, 12, resources=auto)], shared)
    asked = {name: packs.ask(searcher, name) for name in "abcde"}

    def ends(*names: str) -> None:
        for name in names:
            searcher.on_trial_complete(name, packs.result(asked[name]))

    searcher.on_trial_complete("a", crowded(asked["a"], done=1))
    searcher.on_trial_complete("b", crowded(asked["b"], done=0))
    assert packs.ask(searcher, "f") is None
    ends("c", "d", "e")
    asked |= {name: packs.ask(searcher, name) for name in "fgh"}
    assert asked["f"].cells == asked["b"].cells
    assert asked["g"].cells == asked["a"].cells[1:]
    assert [(asked[name].gpu, asked[name].may_grow) for name in "fgh"] == [(0.5, True)] * 3
    searcher.on_trial_complete("f", crowded(asked["f"], done=0))
    assert packs.ask(searcher, "i") is None
    ends("g", "h")
    whole = packs.ask(searcher, "i")
    assert (whole.cells, whole.gpu, whole.may_grow) == (asked["f"].cells, 1, False)


def test_a_share_that_is_given_does_not_grow(tmp_path: Path) -> None:
    searcher = packs.searcher([grid(tmp_path, 3, resources={"gpu": 0.25})], shared)
    assert not packs.ask(searcher, "a").may_grow


def test_packs_that_ask_for_another_share_of_a_gpu_wait_for_those_that_are_out(
    tmp_path: Path,
) -> None:
    """Else Tune would hand the GPU from pack to pack of one share, and the others would starve."""
    one = {"cells_per_trial": 1}
    sources = [
        grid(tmp_path, 2, name="open", resources={"gpu": "auto", **one}),
        grid(tmp_path, 9, name="given", resources={"gpu": 0.5, **one}),
    ]
    searcher = packs.searcher(sources, shared)
    asked = [packs.ask(searcher, name) for name in "abc"]
    assert [pack and pack.sweep for pack in asked] == ["open", "open", None]
    searcher.on_trial_complete("a", packs.result(asked[0]))
    assert packs.ask(searcher, "c") is None  # one of `open` is out
    searcher.on_trial_complete("b", packs.result(asked[1]))
    halves = [packs.ask(searcher, name) for name in "cdef"]
    assert [pack and (pack.sweep, pack.gpu) for pack in halves] == [("given", 0.5)] * 3 + [None]


def test_a_searcher_is_pickled_without_what_it_holds(tmp_path: Path) -> None:
    """Tune does so at its start; what progress is told through holds locks."""
    searcher = packs.searcher([grid(tmp_path, 2)])
    searcher.lost = [Lock()].append  # type: ignore[assignment]
    assert vars(cloudpickle.loads(cloudpickle.dumps(searcher))) == {}


def test_what_needs_no_gpu_goes_on_while_another_share_waits(tmp_path: Path) -> None:
    """And so does what asks for the same share, whatever else its resources say."""
    one = {"cells_per_trial": 1}
    sources = [
        grid(tmp_path, 2, name="quarters", resources={"gpu": 0.25, **one}),
        grid(tmp_path, 2, name="alike", resources={"gpu": 0.25, "cells_per_trial": 2}),
        grid(tmp_path, 2, name="halves", resources={"gpu": 0.5, **one}),
        grid(tmp_path, 2, name="later", resources={"gpu": 0.25, **one}),
        grid(tmp_path, 2, name="none", resources=one),
    ]
    searcher = packs.searcher(sources, lambda needs: 4)
    handed = [packs.ask(searcher, str(number)) for number in range(9)]
    assert sorted(pack.sweep for pack in handed if pack is not None) == [
        *("alike", "none", "none", "quarters", "quarters")
    ]


def test_cells_that_are_stacked_start_with_a_quarter_of_a_gpu(tmp_path: Path) -> None:
    sources = make.sources(tmp_path, make.sweep(**STACKABLE, resources={"gpu": "auto"}))
    pack = packs.ask(packs.searcher(sources, shared), "a")
    assert (pack.gpu, pack.stacked, len(pack.cells)) == (0.25, True, 2)
