"""Grids and studies: they resume from rows, and hand out exactly the planned number of cells."""

from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from optuna.distributions import FloatDistribution, IntDistribution
from optuna.trial import TrialState
from ray.tune.search import Searcher

from sweeps.compute.candidates import val_scores
from sweeps.plan.describe import describe
from sweeps.plan.sources import StudySource, distribution
from sweeps.rows.results import Results
from sweeps.spec.cells import Cell
from sweeps.spec.sweep import Sweep
from tests.sweeps import builders as make
from tests.sweeps import packs
from unlearn.errors import BadInput

SEARCH: dict[str, Any] = {
    "name": "ta",
    "method": "task-arithmetic",
    "forget": [0, 1],
    "search": {"trials": 30, "space": {"alpha": [-3.0, 0.0], "rho": [0.0, 0.99]}},
}


def truth(cell: Cell) -> dict[str, Any]:
    """Made-up accuracies on val: |alpha| forgets, its square does damage, rho saves some."""
    knobs = make.knobs(cell)
    strength = -knobs.get("alpha", -1.0) * (1 - knobs.get("rho", 0.5))
    return {
        "val_forget_accuracy": max(0.0, 1 - strength),
        "val_retain_accuracy": max(0.0, 1 - 0.2 * strength**2),
    }


def score(cell: Cell) -> float:
    """retain - 1.5 forget of the cell's made-up accuracies."""
    result: float = truth(cell)["val_retain_accuracy"] - 1.5 * truth(cell)["val_forget_accuracy"]
    return result


def drive(
    sources: list[Any],
    slots: int = 2,
    write: Results | None = None,
    stop_after: int = 10_000,
    retry: bool = False,
) -> list[Cell]:
    """Play Tune: ask, compute, tell, until the searcher has finished."""
    searcher = packs.searcher(sources, slots, retry=retry)
    done: list[Cell] = []
    for number in range(stop_after):
        pack = packs.ask(searcher, str(number))
        if pack == Searcher.FINISHED:
            break
        assert len({cell.problem for cell in pack.cells}) == 1
        if write:
            for cell in pack.cells:
                make.write(write, cell, sweep="ta", **truth(cell))
        searcher.on_trial_complete(str(number), packs.result(pack, truth, wall_s=0.5))
        done += pack.cells
    return done


def test_every_study_gets_its_trials_and_packs_grow(tmp_path: Path) -> None:
    sweep = make.sweep(**SEARCH)
    done = drive(make.sources(tmp_path, sweep))
    assert len(done) == 60 == len({cell.cell_id for cell in done})
    searcher = packs.searcher(make.sources(tmp_path, sweep), slots=2)
    sizes = []
    for number in range(6):
        pack = packs.ask(searcher, str(number))
        sizes.append(len(pack.cells))
        searcher.on_trial_complete(str(number), packs.result(pack, truth, wall_s=0.5))
    assert sizes == [1, 8, 8, 8, 8, 8]  # 4 s of 0.5 s cells


def test_every_method_has_a_study_of_its_own(tmp_path: Path) -> None:
    methods = {"fine-tune": {"steps", "lr"}, "ssd": {"alpha", "lam"}}
    changes = {"method": list(methods), "search": {"trials": 4}, "eval": {"candidates": "val"}}
    sweep = make.sweep(**{**SEARCH, **changes})
    studies = make.candidates(make.sources(tmp_path, sweep))
    assert [(study.next_method, set(study.space)) for study in studies] == list(methods.items()) * 2
    done = drive(studies, write=make.results(tmp_path))
    names = [make.method(cell) for cell in done]
    assert sorted(names) == ["fine-tune"] * 8 + ["ssd"] * 8
    plan = make.plan(tmp_path, sweep)
    assert (plan.done, plan.cells) == (16, 4)  # a choice a method and forget set
    first = make.opened(plan)[0]
    (chosen,) = first.take(9)
    own = [
        cell.cell_id
        for cell, name in zip(done, names, strict=True)
        if (name, cell.problem.forget) == ("fine-tune", (0,))
    ]
    assert {cell.cell_id for cell in first.tuning_of(chosen).candidates} == set(own)
    assert (make.method(chosen), chosen.problem.forget) == ("fine-tune", (0,))


def test_rates_are_searched_by_their_logarithm() -> None:
    def by_logarithm(knob: str, low: float, high: float) -> bool:
        axis = distribution(knob, (low, high))
        assert isinstance(axis, FloatDistribution | IntDistribution)
        return axis.log

    assert by_logarithm("lr", 1e-4, 1e-2)
    assert by_logarithm("steps", 100, 2000)
    assert not by_logarithm("rho", 0.0, 0.99)
    assert not by_logarithm("alpha", -8.0, 0.0)
    assert not by_logarithm("k", 1, 4)


def test_a_study_resumes_from_rows_and_ends_with_exactly_its_trials(tmp_path: Path) -> None:
    results, sweep = make.results(tmp_path), make.sweep(**SEARCH)
    first = drive(make.sources(tmp_path, sweep), write=results, stop_after=5)
    plan = make.plan(tmp_path, sweep)
    assert (plan.done, plan.cells) == (len(first), 60 - len(first))
    studies = make.opened(plan)
    told = sum(
        len(s.optuna_study.get_trials(deepcopy=False))
        for s in studies
        if isinstance(s, StudySource)
    )
    assert told == len(first)
    drive(studies, write=results)
    assert len(results.read("ta")) == 60
    assert make.plan(tmp_path, sweep).cells == 0


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_a_resumed_study_walks_on_and_stays_inside_its_space(
    sampler: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There are more rows than tries: a sampler that started over would find no new point."""
    monkeypatch.setattr("sweeps.plan.sources.TRIES", 5)
    search = {"sampler": sampler, "space": {"alpha": [-3.0, 0.0]}}
    start, longer = (
        make.sweep(**{**SEARCH, "forget": [0], "search": {"trials": n, **search}}) for n in (8, 12)
    )
    done = drive(make.sources(tmp_path, start), write=make.results(tmp_path))
    assert done == drive(make.sources(tmp_path / "elsewhere", start))
    (study,) = make.sources(tmp_path, longer)
    more = study.take(study.left)
    assert len({cell.cell_id for cell in done + more}) == 12
    assert not study.optuna_study.get_trials(states=[TrialState.FAIL])  # no ask was a repeat
    assert all(-3.0 < make.knobs(cell)["alpha"] < 0.0 for cell in more)


def test_a_study_leaves_rows_alone_that_lie_outside_of_its_space(tmp_path: Path) -> None:
    """The space was narrowed under the same name: rows outside it are no trials of this study."""
    results = make.results(tmp_path)

    def sweep(*rho: float) -> Sweep:
        search = {"trials": 8, "space": {"alpha": [-3.0, 0.0], "rho": list(rho)}}
        return make.sweep(**{**SEARCH, "forget": [0], "search": search})

    wide, narrow = sweep(0.0, 0.99), sweep(0.5, 0.99)
    done = drive(make.sources(tmp_path, wide), write=results)
    inside = {cell.cell_id for cell in done if make.knobs(cell)["rho"] >= 0.5}
    assert 0 < len(inside) < 8
    plan = make.plan(tmp_path, narrow)
    (work,), (study,) = plan.work, make.opened(plan)
    assert (plan.done, plan.cells, work.ids) == (len(inside), 8 - len(inside), frozenset(inside))
    assert len(drive([study], write=results)) == 8 - len(inside)
    assert make.plan(tmp_path, narrow).cells == 0


@pytest.mark.parametrize("space", [{"alpha": [-3.0, 0.0]}, {"recalibrate": [False, True]}])
def test_a_study_leaves_rows_of_another_method_alone(space: dict[str, Any], tmp_path: Path) -> None:
    """Fine-tuning under the same name: its rows have nulls for the knobs of task arithmetic."""
    other = make.sweep(**{**SEARCH, "method": "fine-tune", "search": None})
    drive(make.sources(tmp_path, other), write=make.results(tmp_path))
    sweep = make.sweep(**{**SEARCH, "search": {"trials": 2, "space": space}})
    plan = make.plan(tmp_path, sweep)
    assert (plan.done, plan.cells) == (0, 4)


def test_a_continuous_space_that_is_too_narrow_is_refused(tmp_path: Path) -> None:
    space = {"alpha": [-5e-324, 0.0]}  # neighbours
    search = {"trials": 3, "sampler": "random", "space": space}
    narrow = make.sweep(**{**SEARCH, "search": search})
    with pytest.raises(BadInput, match="no new point of sweep ta; widen"):
        make.sources(tmp_path, narrow)[0].take(3)


def test_tpe_finds_the_good_corner(tmp_path: Path) -> None:
    """The second half of the trials is better than the first ten, which are random."""
    search = {**SEARCH["search"], "trials": 60}
    one = make.sweep(**{**SEARCH, "forget": [0], "search": search})
    value = [score(cell) for cell in drive(make.sources(tmp_path, one), slots=1)]
    assert sum(value[30:]) / 30 > sum(value[:10]) / 10


@pytest.mark.parametrize(("trials", "start"), [(9, 3), (60, 10)])
def test_tpe_starts_with_a_third_of_the_trials_at_random_and_at_most_ten(
    trials: int, start: int, tmp_path: Path
) -> None:
    """Random points are the same whatever they score; those of TPE are not."""
    search = {**SEARCH["search"], "trials": trials}
    sweep = make.sweep(**{**SEARCH, "forget": [0], "search": search})

    def walk(best: float) -> list[Cell]:
        (study,) = make.sources(tmp_path, sweep)
        found: list[Cell] = []
        for _ in range(start + 1):
            (cell,) = study.take(1)
            near = 1 - abs(make.knobs(cell)["alpha"] - best) / 3
            scores = {"val_forget_accuracy": 0.0, "val_retain_accuracy": near}
            study.tell(cell, val_scores(make.scored(**scores)))
            found.append(cell)
        return found

    one, other = walk(best=0.0), walk(best=-3.0)
    assert one[:start] == other[:start]
    assert one[start] != other[start]


def test_a_small_space_is_searched_without_repeats(tmp_path: Path) -> None:
    search = {"trials": 12, "space": {"steps": [1, 12]}}
    sweep = make.sweep(**{**SEARCH, "method": "fine-tune", "forget": [0], "search": search})
    done = drive(make.sources(tmp_path, sweep), slots=3)
    assert sorted(make.knobs(cell)["steps"] for cell in done) == list(range(1, 13))


def test_the_knob_says_what_its_bounds_mean(tmp_path: Path) -> None:
    """[-3, 0] is an interval for a float knob, [1.0, 12.0] twelve points for an integer knob."""

    def search(method: str, *bounds: float, **search: Any) -> list[Cell]:
        knob = "steps" if method == "fine-tune" else "alpha"
        space = {"trials": 12, "space": {knob: list(bounds)}, **search}
        document = {**SEARCH, "method": method, "forget": [0], "search": space}
        return drive(make.sources(tmp_path, make.sweep(**document)), slots=1)

    asked = search("task-arithmetic", -3, 0, sampler="random")
    the_same = search("task-arithmetic", -3.0, 0.0, sampler="random")
    assert asked == the_same
    assert not any(make.knobs(cell)["alpha"].is_integer() for cell in asked)
    done = search("fine-tune", 1.0, 12.0)
    assert sorted(make.knobs(cell)["steps"] for cell in done) == list(range(1, 13))


def test_a_resumed_plan_costs_what_its_rows_took_and_reads_them_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results, sweep = make.results(tmp_path), make.sweep(**SEARCH)
    three = make.sources(tmp_path, sweep)[0].take(3)
    for cell, wall_s in zip(three, (2.0, 3.0, 50.0), strict=True):
        took: dict[str, Any] = {"wall_s": wall_s, "unlearn_s": 0.5, "device": "cpu"}
        make.write(results, cell, sweep="ta", **took, **truth(cell))
    read: list[str] = []
    plain = Results.read

    def noted(self: Results, name: str, *columns: Any) -> pd.DataFrame:
        read.append(name)
        return plain(self, name, *columns)

    monkeypatch.setattr(Results, "read", noted)
    plan = make.plan(tmp_path, sweep)
    cost = make.cost(tmp_path, plan)
    assert read == ["ta"]
    assert cost.cells_s == pytest.approx(3.0 * plan.cells) == pytest.approx(3.0 * 57)


def test_plan_says_what_it_would_do_without_ray(tmp_path: Path) -> None:
    plan = make.plan(tmp_path, make.sweep(**SEARCH))
    assert [recipe.kind for recipe in plan.build] == [
        "original",
        "oracle",
        "expert",
        "oracle",
        "expert",
    ]
    cost = make.cost(tmp_path, plan)
    assert cost.artifacts_s > 0
    assert cost.cells_s > 0
    assert "cells: 60 to run, 0 done" in describe(plan, cost)


def test_when_all_candidates_are_read_the_chosen_one_is_scored_in_full(tmp_path: Path) -> None:
    results = make.results(tmp_path)
    sweep = make.sweep(**{**SEARCH, "eval": {"candidates": "val"}})
    plan = make.plan(tmp_path, sweep)
    assert plan.cells == 62
    studies = make.candidates(make.opened(plan))
    done = drive(studies, write=results)
    for study in studies:
        tried = [score(cell) for cell in done if cell.cell_id in study.asked]
        assert study.best.of("task-arithmetic") == max(tried)
    plan = make.plan(tmp_path, sweep)
    assert (plan.cells, plan.done) == (2, 60)
    confirmed = drive(make.opened(plan), write=results)
    assert [cell.problem.eval.candidates for cell in confirmed] == ["full", "full"]
    for cell in confirmed:
        tried = [score(other) for other in done if other.problem.forget == cell.problem.forget]
        assert score(cell) == max(tried)
    assert make.plan(tmp_path, sweep).cells == 0


@pytest.mark.parametrize("of", ["grid", "study"])
def test_a_narrower_sweep_does_not_choose_among_what_stopped_because_of_what_it_leaves_out(
    of: str, tmp_path: Path
) -> None:
    results = make.results(tmp_path)

    def sweep(name: str, *alphas: float) -> Sweep:
        space = {"trials": len(alphas), "space": {"alpha": [alphas[0], alphas[-1]]}}
        kind: dict[str, Any] = (
            {"search": space}
            if of == "study"
            else {"search": None, "grid": {"alpha": list(alphas)}}
        )
        document = {**SEARCH, "name": name, "forget": [0], "eval": {"candidates": "val"}}
        return make.sweep(**{**document, **kind})

    def chosen(*alphas: float) -> list[Any]:
        (source,) = make.sources(tmp_path, sweep("ta", *alphas))
        return [make.knobs(cell) for cell in source.take(9)]

    tried = make.sources(tmp_path, sweep("ta", -3.0, -2.0, -1.0))[0].take(3)
    strong, middle, weak = sorted(tried, key=lambda cell: float(make.knobs(cell)["alpha"]))
    alphas = [make.knobs(cell)["alpha"] for cell in (strong, middle, weak)]

    def read(cell: Cell, forget: float, retain: float, bar: float | None) -> None:
        accuracies: dict[str, Any] = {"val_forget_accuracy": forget, "val_retain_accuracy": retain}
        stopped: dict[str, Any] = {"val_stopped": bar is not None, "val_bar": bar}
        make.forget_row(results, cell, sweep="ta")
        make.write(results, cell, sweep="ta", **accuracies, **stopped)

    read(strong, 0.0, 0.9, None)
    read(weak, 0.2, 0.95, None)
    read(middle, 0.03, 0.93, 0.9)
    assert chosen(*alphas) == chosen(*alphas[:2]) == [make.knobs(strong)]
    with pytest.raises(
        BadInput,
        match="stopped because of a better one that the spec now leaves out; give the narrow",
    ):
        chosen(*alphas[1:])
    narrower = make.plan(tmp_path, sweep("other", *alphas[1:]))
    assert narrower.cells == 3  # two candidates and a choice
    read(middle, 0.03, 0.93, 0.95 - 1.5 * 0.2)  # by one that stays
    assert chosen(*alphas[1:]) == [make.knobs(weak)]


def failed(results: Results, cells: list[Cell]) -> None:
    """They fail at once, but a failed row does not replace a good one."""
    for cell in cells:
        make.forget_row(results, cell, sweep="ta")
        make.write(results, cell, "failed", sweep="ta", error="by hand")


def test_candidates_of_a_grid_are_read_in_mixed_order(tmp_path: Path) -> None:
    """One method after the other, each in random order: a spec may list its worst points first."""
    alphas = [-0.1 * n for n in range(30)]
    document = {
        **SEARCH,
        "forget": [0],
        "search": None,
        "method": ["sign-consensus", "task-arithmetic"],
        "grid": {"alpha": alphas},
    }

    def taken(how: str) -> list[Cell]:
        source = make.sources(tmp_path, make.sweep(**document, eval={"candidates": how}))[0]
        found: list[Cell] = source.take(60)
        return found

    listed, mixed = taken("full"), taken("val")
    assert [make.method(cell) for cell in mixed] == ["sign-consensus"] * 30 + [
        "task-arithmetic"
    ] * 30
    ours, theirs = ([make.knobs(cell)["alpha"] for cell in cells[:30]] for cells in (mixed, listed))
    assert sorted(ours) == sorted(theirs)
    rise = sum(a < b for a, b in pairwise(ours))
    assert 5 < rise < 24  # of 29 steps: neither up nor down all along


@pytest.mark.parametrize(
    "kind", [{"search": None, "grid": {"alpha": [-1.0, -2.0, -3.0, -4.0]}}, {}]
)
def test_a_resumed_source_begins_with_the_bar_that_its_rows_set(
    kind: dict[str, Any], tmp_path: Path
) -> None:
    """Candidates that failed, stopped or forget another class do not raise the best score."""
    results = make.results(tmp_path)
    sweep = make.sweep(**{**SEARCH, "eval": {"candidates": "val"}, **kind})
    first, other = make.candidates(make.sources(tmp_path, sweep))
    assert first.best.scores == {}
    read = [("ok", False, 0.5), ("ok", True, 0.9), ("failed", None, None), ("ok", False, 0.95)]
    for cell, (status, stopped, retain) in zip([*first.take(3), *other.take(1)], read, strict=True):
        forget = None if status == "failed" else 0.2
        accuracies: dict[str, Any] = {"val_forget_accuracy": forget, "val_retain_accuracy": retain}
        make.write(results, cell, status, sweep="ta", val_stopped=stopped, **accuracies)
    again = make.sources(tmp_path, sweep)[0]
    assert again.left == first.left
    assert again.best.scores == {"task-arithmetic": pytest.approx(0.2)}


def test_what_failed_is_done_until_it_is_to_be_tried_again(tmp_path: Path) -> None:
    """Among candidates that all failed none is chosen; a chosen cell is retried after its own."""
    results = make.results(tmp_path)
    document = {**SEARCH, "search": None, "grid": {"alpha": [-1.0, -2.0, -3.0]}}
    sweep = make.sweep(**document, eval={"candidates": "val"})
    sources = make.candidates(make.sources(tmp_path, sweep))
    one, other = [source.take(source.left) for source in sources]
    failed(results, one)
    drive([make.grid(sweep, other)], write=results)
    plan = make.plan(tmp_path, sweep)
    # the chosen cell of the second forget set; the first has no finished candidate
    assert plan.cells == 1
    (chosen,) = make.opened(plan)[0].take(9)
    failed(results, [chosen])
    assert make.plan(tmp_path, sweep).cells == 0
    failed(results, other[:1])
    plan = make.plan(tmp_path, sweep, retry_failed=True)
    assert plan.cells == 6  # four candidates and two choices
    again = drive(make.opened(plan), write=results, retry=True)
    kinds = Counter(cell.problem.eval.candidates for cell in again)
    assert kinds == {"val": 4, "full": 2}
    assert chosen.cell_id in {cell.cell_id for cell in again}
    assert make.plan(tmp_path, sweep, retry_failed=True).cells == 0


@pytest.mark.parametrize(("trials", "new"), [(6, 0), (8, 2), (1, 0)])
def test_a_study_asks_for_its_failed_cells_again_before_new_ones(
    trials: int, new: int, tmp_path: Path
) -> None:
    """With trials left or none; the study first learns the scores of its rows."""
    results = make.results(tmp_path)
    space = {"alpha": [-3.0, 0.0], "recalibrate": [False, True]}
    six, now = (
        make.sweep(**{**SEARCH, "forget": [0], "search": {"trials": n, "space": space}})
        for n in (6, trials)
    )
    done = drive(make.sources(tmp_path, six), write=results)
    failed(results, done[2:4])
    bad = {cell.cell_id for cell in done[2:4]}
    assert {row["cell_id"] for row in make.plan(tmp_path, now).errors} == bad
    plan = make.plan(tmp_path, now, retry_failed=True)
    assert (plan.cells, plan.done, plan.errors) == (2 + new, 4, ())
    (study,) = make.opened(plan)
    asked = drive([study], write=results, retry=True)
    assert {cell.cell_id for cell in asked[:2]} == bad
    assert len(study.optuna_study.get_trials(states=[TrialState.COMPLETE])) == 6 + new
    plan = make.plan(tmp_path, now, retry_failed=True)
    assert (plan.cells, plan.done, plan.errors) == (0, 6 + new, ())


@pytest.mark.parametrize(("draws", "alike"), [("problem", True), ("method", False)])
def test_methods_start_at_the_same_quantiles_unless_each_draws_its_own(
    tmp_path: Path, draws: str, alike: bool
) -> None:
    search = {"trials": 2, "space": {"lr": [1e-4, 1e-2]}, "draws": draws}
    rates = []
    for method in ("fine-tune", "gradient-ascent"):
        sweep = make.sweep(name=method, method=method, search=search)
        (source,) = make.sources(tmp_path, sweep)
        (cell,) = source.take(1)
        rates.append(make.knobs(cell)["lr"])
    assert (rates[0] == rates[1]) is alike


def test_unknown_draws_are_refused() -> None:
    search = {"trials": 2, "space": {"lr": [1e-4, 1e-2]}, "draws": "x"}
    with pytest.raises(BadInput, match=r"unknown search.draws 'x'; known: problem, method"):
        make.sweep(search=search)


def test_rows_of_one_random_share_are_not_those_of_another(tmp_path: Path) -> None:
    shares: dict[str, Any] = {"forget": [{"random": 0.1}, {"random": 0.2}]}
    done, left = make.cells(**shares)
    make.write(make.results(tmp_path), done)
    plan = make.plan(tmp_path, make.sweep(**shares))
    assert plan.done_of == {"s": 1}
    (source,) = make.opened(plan)
    assert source.take(9) == [left]
