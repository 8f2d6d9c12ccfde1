"""A budget holds cells back in time, and keeps what was computed."""

import math

import pytest
from ray.tune.search import Searcher

from sweeps.run.budget import Allowance, Budget, read_budget
from sweeps.run.searcher import PackSearcher
from sweeps.run.trial import Pack
from sweeps.spec.cells import Cell
from tests.sweeps import builders as make
from tests.sweeps import packs
from unlearn.errors import BadInput


class Clock:
    time = 100.0

    def __call__(self) -> float:
        return self.time


@pytest.mark.parametrize(
    ("text", "budget"),
    [
        ("90s", Budget(seconds=90)),
        ("45m", Budget(seconds=2700)),
        ("1.5h", Budget(seconds=5400)),
        ("500cells", Budget(cells=500)),
    ],
)
def test_a_budget_is_time_or_cells(text: str, budget: Budget) -> None:
    assert read_budget(text) == budget


@pytest.mark.parametrize("text", ["", "45", "m", "-5m", "0s", "0cells", "1.5cells", "1 d", "inf"])
def test_what_is_no_budget_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match="budget"):
        read_budget(text)


def test_cells_are_handed_out_while_they_end_in_time() -> None:
    clock = Clock()
    allowance = Allowance(Budget(seconds=10), now=clock)
    assert allowance.cells(8, None) == 1  # nobody knows yet what one takes
    assert allowance.cells(8, 3.0) == 3
    clock.time = 108.0
    assert allowance.seconds_left == 2.0
    assert not allowance.spent
    assert allowance.cells(8, 3.0) == 0
    assert allowance.spent


def test_only_time_keeps_cells_from_another_try() -> None:
    """Of a budget of cells they are a part already."""
    counted = Allowance(Budget(cells=2))
    counted.take(2)
    assert counted.cells(1, None) == 0
    assert counted.retries(2, 3.0) == 2
    clock = Clock()
    timed = Allowance(Budget(seconds=10), now=clock)
    assert timed.retries(8, None) == 1
    assert timed.retries(8, 3.0) == 3
    assert not timed.spent
    clock.time = 108.0
    assert timed.retries(8, 3.0) == 0
    assert timed.spent
    assert timed.retries(8, 1.0) == 0  # two would end in time, but nothing starts any more


def test_without_a_budget_nothing_is_held_back() -> None:
    allowance = Allowance()
    assert allowance.cells(8, None) == 8 == allowance.cells(8, 3.0)
    assert allowance.retries(8, None) == 8
    assert allowance.seconds_left == math.inf


def test_a_budget_has_one_limit() -> None:
    with pytest.raises(BadInput, match="60 s and 5 cells has two limits; give one"):
        Budget(seconds=60, cells=5)


def test_packs_end_with_the_last_cell_that_the_budget_allows() -> None:
    cells = make.cells(grid={"steps": list(range(1, 8))})
    source = make.grid(make.sweep(resources={"cells_per_trial": 3}), cells)
    allowance = Allowance(Budget(cells=4))
    searcher = packs.searcher([source], slots=3, allowance=allowance)
    first, second = packs.ask(searcher, "a"), packs.ask(searcher, "b")
    assert [len(first.cells), len(second.cells)] == [3, 1]
    assert packs.ask(searcher, "c") is None  # others still run
    for name, pack in (("a", first), ("b", second)):
        searcher.on_trial_complete(name, packs.result(pack))
    assert packs.ask(searcher, "d") == Searcher.FINISHED
    assert (allowance.spent, source.left) == (True, 3)


def ends_early(searcher: PackSearcher, trial_id: str, pack: Pack, died: bool) -> None:
    """End a trial before its second cell: its worker died, or the GPU lacked memory."""
    if died:
        searcher.on_trial_complete(trial_id, error=True)
        return
    result = packs.result(pack)
    reports = result["reports"][:1]
    searcher.on_trial_complete(trial_id, {**result, "reports": reports, "crowded": True})


@pytest.mark.parametrize(("died", "waiting"), [(True, 4), (False, 3)])
@pytest.mark.parametrize(("seconds_left", "in_time"), [(0.0, 0), (8.9, 0), (18.0, 2), (99.0, 11)])
def test_cells_are_tried_again_while_they_end_in_time(
    died: bool, waiting: int, seconds_left: float, in_time: int
) -> None:
    """A cell takes 9 s. Of a pack of four, the worker died, or the GPU did not hold three."""
    clock = Clock()
    cells = make.cells(grid={"steps": [1, 2, 3, 4, 5]})
    source = make.grid(make.sweep(resources={"cells_per_trial": 4}), cells)
    allowance = Allowance(Budget(seconds=1000), now=clock)
    searcher = packs.searcher([source], allowance=allowance)
    alone = packs.ask(searcher, "a")  # one, because its seconds are not known yet
    searcher.on_trial_complete("a", packs.result(alone, wall_s=9.0))
    pack = packs.ask(searcher, "b")
    assert pack.cells == tuple(cells[1:])
    clock.time = 1100.0 - seconds_left
    ends_early(searcher, "b", pack, died)
    again: list[Cell] = []
    while isinstance(next_pack := packs.ask(searcher, "c"), Pack):
        again += next_pack.cells
        clock.time += 9.0 * len(next_pack.cells)
        searcher.on_trial_complete("c", packs.result(next_pack))
    assert next_pack == Searcher.FINISHED
    assert len(set(again)) == len(again) == min(in_time, waiting)
    assert sum(len(held.pack.cells) for held in searcher.again) == waiting - len(again)
    assert allowance.spent is (len(again) < waiting)


def test_a_budget_of_cells_includes_their_other_tries() -> None:
    """Else a cell that kills its worker would never get its failed row, at one cell a run."""
    source = make.grid(make.sweep(), make.cells(grid={"steps": [1, 2]}))
    allowance = Allowance(Budget(cells=1))
    searcher = packs.searcher([source], allowance=allowance)
    pack = packs.ask(searcher, "a")
    assert packs.ask(searcher, "b") is None
    assert allowance.spent
    searcher.on_trial_complete("a", error=True)
    again = packs.ask(searcher, "b")
    assert (again.cells, again.attempt) == (pack.cells, 2)
    searcher.on_trial_complete("b", packs.result(again))
    assert packs.ask(searcher, "c") == Searcher.FINISHED
    assert source.left == 1


def test_a_pack_that_cannot_write_ends_the_run() -> None:
    cells = make.cells(grid={"steps": list(range(1, 8))})
    source = make.grid(make.sweep(resources={"cells_per_trial": 2}), cells)
    searcher = packs.searcher([source], slots=1)
    pack = packs.ask(searcher, "a")
    assert packs.ask(searcher, "b") is not None
    halted = packs.result(pack)
    halted["reports"] = halted["reports"][:1]
    halted["halt"] = "cannot write /full: No space left on device"
    searcher.on_trial_complete("a", halted)
    assert packs.ask(searcher, "c") is None
    searcher.on_trial_complete("b", error=True)
    assert packs.ask(searcher, "c") == Searcher.FINISHED
    assert searcher.halt == "cannot write /full: No space left on device"
