"""The cell that val chooses: when it is handed out, and that it is the one that rows choose."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ray.tune.search import Searcher

from sweeps.choose.choose import choose
from sweeps.run.budget import Allowance, Budget
from sweeps.run.searcher import PackSearcher
from sweeps.spec.cells import Cell
from tests.sweeps import builders as make
from tests.sweeps import packs

ALPHAS = [-1.0, -2.0, -3.0, -4.0]
SPEC: dict[str, Any] = {
    "method": "task-arithmetic",
    "forget": [0, 1, 2],
    "grid": {"alpha": ALPHAS},
    "eval": {"candidates": "val"},
    "resources": {"cells_per_trial": 1},
}
Truth = Callable[[Cell], Mapping[str, Any]]


def truth(cell: Cell) -> dict[str, Any]:
    """Made-up scores on val, and seconds: the best alpha is -2, whatever is forgotten."""
    alpha = make.knobs(cell).get("alpha", 0.0)
    scores = {"val_forget_accuracy": 0.1, "val_retain_accuracy": 0.9 - 0.125 * abs(alpha + 2)}
    return {**scores, "unlearn_s": 0.25, "evaluate_s": 0.5, "wall_s": 1.0}


def kind(cell: Cell) -> str:
    return cell.problem.eval.candidates


def play(
    searcher: PackSearcher,
    folder: Path | None = None,
    scores: Truth = truth,
    status: str = "ok",
    most: int = 999,
) -> list[Cell]:
    """Play Tune with as many trials at once as the searcher hands out; the oldest ends first."""
    running: dict[str, Any] = {}
    done: list[Cell] = []
    for number in range(most):
        pack = packs.ask(searcher, str(number))
        if pack == Searcher.FINISHED:
            break
        if pack is not None:
            running[str(number)] = pack
            continue
        name = next(iter(running))
        ended = running.pop(name)
        for cell in ended.cells:
            if folder is not None:
                make.write(make.results(folder), cell, status, **scores(cell))
        searcher.on_trial_complete(name, packs.result(ended, scores, 1.0, status))
        done += ended.cells
    return done


def labels(cells: list[Cell]) -> list[str]:
    """Each cell as its forgotten class and whether it was chosen."""
    return [f"{cell.problem.forget[0]} {kind(cell)}" for cell in cells]


@pytest.mark.parametrize("slots", [1, 2])
def test_a_chosen_cell_comes_before_the_candidates_of_later_studies(
    slots: int, tmp_path: Path
) -> None:
    """As many problems have packs out as there are slots; one pack is out ahead of the slots."""
    searcher = packs.searcher(make.sources(tmp_path, make.sweep(**SPEC)), slots)
    expected = {
        1: "0v 0v 0v 0v 1v 0f 1v 1v 1v 2v 1f 2v 2v 2v 2f",
        2: "0v 1v 0v 1v 0v 1v 0v 2v 1v 0f 2v 1f 2v 2v 2f",
    }
    done = labels(play(searcher))
    assert " ".join(label.replace(" ", "")[:2] for label in done) == expected[slots]


@pytest.mark.parametrize("slots", [1, 2, 4])
@pytest.mark.parametrize("method", ["task-arithmetic", ["sign-consensus", "task-arithmetic"]])
def test_a_budget_of_one_studys_candidates_and_one_leaves_its_chosen_cell_scored(
    slots: int, method: Any, tmp_path: Path
) -> None:
    allowance = Allowance(Budget(cells=5))
    sources = make.sources(tmp_path, make.sweep(**{**SPEC, "method": method, "forget": [0]}))
    done = play(packs.searcher(sources, slots, allowance=allowance))
    assert labels(done) == ["0 val"] * 4 + ["0 full"]
    assert allowance.spent is (method != "task-arithmetic")


def test_a_budget_keeps_a_cell_for_what_is_about_to_be_chosen(tmp_path: Path) -> None:
    """Two of 7 cells go to the next class while the choice in the first is awaited."""
    allowance = Allowance(Budget(cells=7))
    searcher = packs.searcher(make.sources(tmp_path, make.sweep(**SPEC)), allowance=allowance)
    done = labels(play(searcher))
    assert Counter(done) == {"0 val": 4, "1 val": 2, "0 full": 1}


def test_a_cell_that_is_kept_for_no_choice_is_handed_out(tmp_path: Path) -> None:
    """All candidates of the first class fail, so the last cell of the budget is the second's."""
    allowance = Allowance(Budget(cells=5))
    searcher = packs.searcher(make.sources(tmp_path, make.sweep(**SPEC)), allowance=allowance)
    done = play(searcher, status="failed")
    assert labels(done) == ["0 val"] * 4 + ["1 val"]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"method": ["sign-consensus", "task-arithmetic"]},
        {"grid": None, "search": {"trials": 7, "space": {"alpha": [-3.0, 0.0]}}},
        {"search": {"trials": 5, "space": {"rho": [0.0, 0.9]}}},
        {"grid": {"alpha": ALPHAS, "rho": [0.1, 0.5, 0.9]}},  # a tie of three
    ],
)
@pytest.mark.parametrize("known", [0, 3])
def test_it_is_the_cell_that_the_rows_choose(
    changes: dict[str, Any], known: int, tmp_path: Path
) -> None:
    """As told by trials, and as planned from rows alone; with a part of the rows of before."""
    sweep = make.sweep(**{**SPEC, **changes})
    told, read = tmp_path / "told", tmp_path / "read"
    for folder in (told, read):
        before = packs.searcher(make.candidates(make.sources(folder, sweep)), 1)
        play(before, folder, most=2 * known + 1)
    cells = play(packs.searcher(make.sources(told, sweep), 1), told)
    play(packs.searcher(make.candidates(make.sources(read, sweep)), 1), read)
    chosen = make.sources(read, sweep)
    assert all(source.chosen for source in chosen)
    from_rows = [cell for source in chosen for cell in source.take(1)]
    assert len(from_rows) == 3 * len(sweep.methods)
    assert ids(from_rows) == ids([cell for cell in cells if kind(cell) == "full"])
    rows = make.results(read).read(sweep.name)
    wanted = [choose(own) for _, own in rows.groupby([rows["forget"].map(str), "method"])]
    assert ids(map(as_candidate, from_rows)) == sorted(each.row["cell_id"] for each in wanted)
    assert make.plan(told, sweep).cells == 0


def ids(cells: Iterable[Cell]) -> list[str]:
    return sorted(cell.cell_id for cell in cells)


def as_candidate(cell: Cell) -> Cell:
    evaluation = replace(cell.problem.eval, candidates="val")
    return replace(cell, problem=replace(cell.problem, eval=evaluation))


@pytest.mark.parametrize("known", [0, 3, 4])
def test_what_was_tuned_is_the_same_whether_it_was_told_or_read(known: int, tmp_path: Path) -> None:
    """Four candidates of .75 s; one failed after 1 s and is none to choose from."""
    sweep = make.sweep(**{**SPEC, "forget": [0]})
    results = make.results(tmp_path)
    source, chosen = make.sources(tmp_path, sweep)
    cells = source.take(4)
    for place, cell in enumerate(cells):
        if place < known:
            write(tmp_path, cell, failed=place == 1)
    if known:
        chosen = make.sources(tmp_path, sweep)[-1]
    for place, cell in enumerate(cells[known:], start=known):
        write(tmp_path, cell, failed=place == 1)
        row = results.find("s", cell.cell_id)
        report = packs.report(row)
        chosen.add_result(cell, report.val, report.spent_s)
    (full,) = chosen.take(1)
    tuning = chosen.tuning_of(full)
    assert tuning.seconds == pytest.approx(3 * 0.75 + 1.0)
    good = [cell for place, cell in enumerate(cells) if place != 1]
    assert ids(list(tuning.candidates)) == ids(good)


def write(folder: Path, cell: Cell, failed: bool) -> None:
    outcome = {"wall_s": 1.0} if failed else truth(cell)
    make.write(make.results(folder), cell, "failed" if failed else "ok", **outcome)


def test_candidates_that_stopped_early_are_not_chosen(tmp_path: Path) -> None:
    """The best by its score has read a part of val."""

    def partly(cell: Cell) -> dict[str, Any]:
        return {**truth(cell), "val_stopped": make.knobs(cell)["alpha"] == -2.0}

    sweep = make.sweep(**{**SPEC, "forget": [0]})
    *_, chosen = play(packs.searcher(make.sources(tmp_path, sweep)), scores=partly)
    assert kind(chosen) == "full"
    assert make.knobs(chosen)["alpha"] in (-1.0, -3.0)


def test_a_candidate_whose_workers_all_died_counts_as_failed(tmp_path: Path) -> None:
    """Its row is written at once, and the choice is among the others."""
    sweep = make.sweep(**{**SPEC, "forget": [0], "grid": {"alpha": [-1.0, -2.0]}})
    sources = make.sources(tmp_path, sweep)
    searcher = packs.searcher(sources, places=packs.places(tmp_path))
    first, second = packs.ask(searcher, "a"), packs.ask(searcher, "b")
    searcher.on_trial_complete("a", packs.result(first, truth))
    searcher.on_trial_complete("b", error=True)
    for name in "cd":
        assert packs.ask(searcher, name).cells == second.cells
        searcher.on_trial_complete(name, error=True)
    row = make.results(tmp_path).find("s", second.cells[0].cell_id)
    assert row is not None
    assert row["status"] == "failed"
    (chosen,) = packs.ask(searcher, "e").cells
    assert (kind(chosen), make.knobs(chosen)) == ("full", make.knobs(first.cells[0]))


def test_a_row_that_a_dead_worker_left_takes_part_in_the_choice(tmp_path: Path) -> None:
    sweep = make.sweep(**{**SPEC, "forget": [0], "grid": {"alpha": [-2.0]}})
    searcher = packs.searcher(make.sources(tmp_path, sweep), places=packs.places(tmp_path))
    pack = packs.ask(searcher, "a")
    make.write(make.results(tmp_path), pack.cells[0], **truth(pack.cells[0]))
    searcher.on_trial_complete("a", error=True)
    for name in "bc":
        assert packs.ask(searcher, name).cells == pack.cells
        searcher.on_trial_complete(name, error=True)
    assert kind(packs.ask(searcher, "d").cells[0]) == "full"


def test_a_resumed_run_begins_with_what_val_has_chosen(tmp_path: Path) -> None:
    """Also in a method whose neighbour has candidates left."""
    sweep = make.sweep(**{**SPEC, "method": ["sign-consensus", "task-arithmetic"]})
    first = packs.searcher(make.candidates(make.sources(tmp_path, sweep)))
    play(first, tmp_path, most=9)  # four candidates of the first method end
    plan = make.plan(tmp_path, sweep)
    assert (plan.done, plan.cells) == (4, 3 * 2 * 5 - 4)
    pack = packs.ask(packs.searcher(make.opened(plan)), "a")
    assert labels(list(pack.cells)) == ["0 full"]
    assert make.method(pack.cells[0]) == "sign-consensus"


def test_a_budget_in_seconds_is_not_spent_while_a_choice_may_still_fit(tmp_path: Path) -> None:
    """Class 0's last candidate is out, and one of class 1 no longer fits: the choice takes 1 s."""
    clock = [0.0]
    allowance = Allowance(Budget(seconds=100.0), now=lambda: clock[0])
    searcher = packs.searcher(make.sources(tmp_path, make.sweep(**SPEC)), allowance=allowance)
    asked: dict[str, Any] = {}
    for name in "abcd":
        asked[name] = packs.ask(searcher, name)
        if name != "d":
            searcher.on_trial_complete(name, packs.result(asked[name], truth, wall_s=30.0))
    clock[0] = 80.0
    assert packs.ask(searcher, "e") is None
    searcher.on_trial_complete("d", packs.result(asked["d"], truth, wall_s=30.0))
    assert labels(list(packs.ask(searcher, "e").cells)) == ["0 full"]
    assert packs.ask(searcher, "f") is None
    assert allowance.spent


def test_a_budget_keeps_a_cell_for_a_choice_that_waits_for_a_gpu(tmp_path: Path) -> None:
    """It is known, but has to wait for a larger share; the other sweep would take a CPU."""
    auto = {"gpu": "auto", "cells_per_trial": 1}
    search = make.sweep(**{**SPEC, "grid": {"alpha": [-1.0, -2.0]}, "resources": auto})
    sources = [
        *make.sources(tmp_path, search),
        *make.sources(tmp_path, make.sweep(name="t", grid={"steps": [5, 6, 7]})),
    ]
    searcher = packs.searcher(sources, 2, allowance=Allowance(Budget(cells=5)))
    asked: dict[str, Any] = {}

    def asks(name: str) -> tuple[str, float] | None:
        pack = packs.ask(searcher, name)
        if pack is None:
            return None
        asked[name] = pack
        return labels(list(pack.cells))[0], pack.gpu

    def ends(name: str) -> None:
        searcher.on_trial_complete(name, packs.result(asked[name], truth))

    assert [asks(name) for name in "abc"] == [("0 val", 0.25), ("0 val", 0.25), ("1 val", 0.25)]
    ends("a")
    assert asks("d") == ("1 val", 0.25)
    searcher.on_trial_complete("d", {"reports": [], "halt": "", "crowded": True})
    assert asks("e") is None  # candidates have quarters
    ends("b")
    assert asks("e") is None
    ends("c")
    assert asks("e") == ("1 val", 0.5)
    assert asks("f") == ("0 full", 0.5)
