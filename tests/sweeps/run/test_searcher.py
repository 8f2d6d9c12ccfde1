"""Who works when: every slot from the start, none for nothing, and the chosen cells in the same run."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray
from ray.tune.experiment import Trial
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher

from sweeps.plan.plan import make_plan
from sweeps.plan.sources import Source
from sweeps.rows.results import Results
from sweeps.run import searcher as packs
from sweeps.run.searcher import HoldWhileStarting, PackSearcher, slots
from sweeps.run.trial import Places
from sweeps.spec.parse import parse
from sweeps.spec.sweep import Resources
from unlearn.artifacts import Store

SITE = Places("results", "store", "data", None)


def grid(folder: Path, alphas: list[float], name: str = "s") -> Source:
    document = {
        "name": name,
        "models": "cnn",
        "method": "task-arithmetic",
        "forget": [1],
        "grid": {"alpha": alphas},
    }
    [source] = make_plan(
        [parse(document)], Store(str(folder / "store")), Results(str(folder / "results"))
    ).sources
    return source


def told(asked: Any) -> dict[str, Any]:
    return {
        "rows": [
            {"cell_id": cell.cell_id, "status": "ok", "wall_s": 9.0} for cell in asked["pack"].cells
        ]
    }


def test_a_pack_for_every_slot_and_one_more(tmp_path: Path) -> None:
    """Also when a node joins."""
    room = [2]
    searcher = PackSearcher(
        [grid(tmp_path, [-1.0 * n for n in range(1, 10)])], SITE, lambda needs: room[0], retry=False
    )
    asked = {name: searcher.suggest(name) for name in "abcd"}
    assert [name for name, pack in asked.items() if pack is None] == ["d"]
    searcher.on_trial_complete("a", told(asked["a"]))
    assert searcher.suggest("e") is not None
    room[0] = 4
    assert [searcher.suggest(name) is None for name in "fgh"] == [False, False, True]


def test_what_is_known_later_is_asked_for_when_all_the_rest_is_done(tmp_path: Path) -> None:
    now, later = grid(tmp_path, [-1.0, -2.0]), grid(tmp_path, [-3.0], "later")
    asked_for: list[int] = []

    def known() -> list[Source]:
        asked_for.append(len(searcher.flying))
        return [later]

    searcher = PackSearcher([now], SITE, lambda needs: 3, False, known)
    first, second = searcher.suggest("a"), searcher.suggest("b")
    assert searcher.suggest("c") is None
    searcher.on_trial_complete("b", told(second))
    assert searcher.suggest("c") is None
    assert asked_for == []
    searcher.on_trial_complete("a", told(first))
    last = searcher.suggest("c")
    assert last["pack"].sweep == "later"
    assert searcher.suggest("d") is None
    searcher.on_trial_complete("c", told(last))
    assert searcher.suggest("d") == Searcher.FINISHED
    assert asked_for == [0]


def test_each_kind_of_resources_has_its_own_slots(tmp_path: Path) -> None:
    """One sweep that fills the GPU keeps nothing of another from the CPUs."""
    sources = [grid(tmp_path, [-1.0 * n for n in range(1, 10)], name) for name in ("gpu", "cpu")]
    sources[0].sweep = replace(sources[0].sweep, resources=Resources(cpu=1, gpu=1))
    searcher = PackSearcher(sources, SITE, lambda needs: 1 if needs.gpu else 4, retry=False)
    packs = [
        asked["pack"] for name in range(9) if (asked := searcher.suggest(str(name))) is not None
    ]
    assert sorted(pack.sweep for pack in packs) == ["cpu"] * 5 + ["gpu"] * 2


@pytest.mark.parametrize("dies", [False, True])
def test_a_study_hears_of_a_pack_that_is_held_once(dies: bool, tmp_path: Path) -> None:
    """Whatever becomes of its worker then."""
    source = grid(tmp_path, [-1.0, -2.0])
    heard: list[str] = []
    source.tell = lambda cell, row: heard.append(row["status"])  # type: ignore[method-assign]
    searcher = PackSearcher([source], SITE, lambda needs: 1, retry=False)
    result = told(searcher.suggest("a"))
    for _ in range(3):
        searcher.on_trial_result("a", result)
    if dies:
        searcher.on_trial_complete("a", error=True)
    else:
        searcher.on_trial_complete(
            "a", {"rows": [{**row, "status": "heard twice"} for row in result["rows"]]}
        )
    assert heard == ["ok"]
    assert (searcher.flying, searcher.again) == ({}, [])


def test_a_pack_ends_when_no_actor_is_starting(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(packs, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    hold = HoldWhileStarting()
    running = a_trial(Trial.RUNNING, actor="up")
    reset, queued = a_trial(Trial.PENDING, "reused", actor="up"), a_trial(Trial.PENDING, "waits")
    starting = a_trial(Trial.PENDING, "launched")

    def decides(*live: Any) -> str:
        manager = SimpleNamespace(is_actor_started=lambda actor: actor != "waits")
        owns = {trial: trial.own for trial in live if trial.own}
        controller: Any = SimpleNamespace(
            get_live_trials=lambda: live, _trial_to_actor=owns, _actor_manager=manager
        )
        return hold.on_trial_result(controller, live[0], {})

    go_on, end = TrialScheduler.CONTINUE, TrialScheduler.STOP
    assert decides(running) == end
    assert decides(running, a_trial(Trial.PENDING)) == end  # nobody has looked at it yet
    assert decides(running, reset, queued) == end
    assert decides(running, starting) == go_on
    clock[0] += packs.START_SECONDS
    assert decides(running, starting) == end  # it takes too long
    assert decides(running) == end
    assert decides(running, starting) == go_on  # another one


def a_trial(status: str, own: str | None = None, actor: str | None = None) -> Any:
    class Live(SimpleNamespace):
        __hash__ = object.__hash__  # type: ignore[assignment]

    return Live(status=status, own=own, temporary_state=SimpleNamespace(ray_actor=actor))


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
