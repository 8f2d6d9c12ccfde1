"""A budget holds cells back in time, and keeps what was computed."""

import math

import pytest
from ray.tune.search import Searcher

from sweeps.run.budget import Allowance, Budget, read_budget
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


def test_without_a_budget_nothing_is_held_back() -> None:
    allowance = Allowance()
    assert allowance.cells(8, None) == 8 == allowance.cells(8, 3.0)
    assert allowance.seconds_left == math.inf


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
