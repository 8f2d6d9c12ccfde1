"""The searcher: packs that share artifacts, studies that resume from rows, exactly the planned number of cells."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from optuna.trial import TrialState
from ray.tune.search import Searcher

from sweeps.choose.choose import choose, pareto
from sweeps.plan.plan import describe, estimate, make_plan
from sweeps.plan.sources import Grid, Study, distribution
from sweeps.rows.results import Results
from sweeps.rows.schema import row_of
from sweeps.run.searcher import PackSearcher
from sweeps.run.trial import Places
from sweeps.spec.cells import Cell
from sweeps.spec.parse import parse
from sweeps.spec.sweep import Sweep
from unlearn.artifacts import Store
from unlearn.errors import BadInput

SITE = Places("results", "store", "data", None)
SEARCH: dict[str, Any] = {
    "name": "ta",
    "models": "cnn",
    "method": "task-arithmetic",
    "forget": [0, 1],
    "search": {"trials": 30, "space": {"alpha": [-3.0, 0.0], "rho": [0.0, 0.99]}},
}


def truth(cell: Cell) -> dict[str, float]:
    """A made-up landscape for arithmetic: forgetting grows with |alpha|, damage with its square, rho saves some."""
    knobs = dict(cell.knobs)
    strength = -knobs.get("alpha", -1.0) * (1 - knobs.get("rho", 0.5))
    return {
        "val_forget_accuracy": max(0.0, 1 - strength),
        "val_retain_accuracy": max(0.0, 1 - 0.2 * strength**2),
    }


def sources(sweep: Sweep, tmp_path: Path) -> list[Any]:
    return list(
        make_plan(
            [sweep], Store(str(tmp_path / "store")), Results(str(tmp_path / "results"))
        ).sources
    )


def drive(
    searcher: PackSearcher, write: Results | None = None, stop_after: int = 10_000
) -> list[Cell]:
    """Play Tune: ask, compute, tell, until the searcher has finished."""
    done: list[Cell] = []
    for number in range(stop_after):
        asked = searcher.suggest(str(number))
        if asked == Searcher.FINISHED:
            break
        cells = asked["pack"].cells
        assert len({cell.problem for cell in cells}) == 1
        rows = [{"cell_id": c.cell_id, "status": "ok", "wall_s": 0.5, **truth(c)} for c in cells]
        if write:
            for cell in cells:
                stamp = pd.Timestamp.now("UTC").to_pydatetime()
                write.write(
                    "ta", row_of(cell, {"status": "ok", "created_at": stamp, **truth(cell)})
                )
        searcher.on_trial_complete(str(number), {"rows": rows})
        done += cells
    return done


def test_every_study_gets_its_trials_and_packs_grow(tmp_path: Path) -> None:
    searcher = PackSearcher(
        sources(parse(SEARCH), tmp_path), SITE, slots=lambda needs: 2, retry=False
    )
    done = drive(searcher)
    assert len(done) == 60 == len({cell.cell_id for cell in done})
    searcher = PackSearcher(
        sources(parse(SEARCH), tmp_path), SITE, slots=lambda needs: 2, retry=False
    )
    sizes = []
    for number in range(6):
        asked = searcher.suggest(str(number))
        sizes.append(len(asked["pack"].cells))
        rows = [
            {"cell_id": c.cell_id, "status": "ok", "wall_s": 0.5, **truth(c)}
            for c in asked["pack"].cells
        ]
        searcher.on_trial_complete(str(number), {"rows": rows})
    assert sizes == [1, 8, 8, 8, 8, 8]  # 4 s of 0.5 s cells


def test_every_method_has_a_study_of_its_own(tmp_path: Path) -> None:
    methods = {"fine-tune": {"steps", "lr"}, "ssd": {"alpha", "lam"}}
    sweep = parse(
        {**SEARCH, "method": list(methods), "search": {"trials": 4}, "eval": {"candidates": "val"}}
    )
    studies = sources(sweep, tmp_path)
    assert [(study.method, set(study.space)) for study in studies] == list(methods.items()) * 2
    results = Results(str(tmp_path / "results"))
    done = drive(PackSearcher(studies, SITE, lambda needs: 2, False), results)
    assert sorted(cell.method for cell in done) == ["fine-tune"] * 8 + ["ssd"] * 8
    plan = make_plan([sweep], Store(str(tmp_path / "store")), results)
    assert (plan.done, plan.cells) == (16, 4)  # a choice a method and forget set
    (chosen, tuning), *_ = plan.sources[0].tuning.items()
    own = [cell for cell in done if (cell.method, cell.problem.forget) == ("fine-tune", (0,))]
    assert {cell.cell_id for cell in tuning.candidates} == {cell.cell_id for cell in own}
    assert chosen in {cell.cell_id for cell in plan.sources[0].cells}


def test_rates_are_searched_by_their_logarithm() -> None:
    assert distribution("lr", (1e-4, 1e-2)).log
    assert distribution("steps", (100, 2000)).log
    assert not any(
        distribution(*axis).log
        for axis in (("rho", (0.0, 0.99)), ("alpha", (-8.0, 0.0)), ("k", (1, 4)))
    )


def test_a_study_resumes_from_rows_and_ends_with_exactly_its_trials(tmp_path: Path) -> None:
    results, sweep = Results(str(tmp_path / "results")), parse(SEARCH)
    first = drive(
        PackSearcher(sources(sweep, tmp_path), SITE, lambda needs: 2, False), results, stop_after=5
    )
    plan = make_plan([sweep], Store(str(tmp_path / "store")), results)
    assert (plan.done, plan.cells) == (len(first), 60 - len(first))
    told = sum(
        len(s.study.get_trials(deepcopy=False)) for s in plan.sources if isinstance(s, Study)
    )
    assert told == len(first)
    drive(PackSearcher(list(plan.sources), SITE, lambda needs: 2, False), results)
    assert len(results.read("ta")) == 60
    assert make_plan([sweep], Store(str(tmp_path / "store")), results).cells == 0


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_a_resumed_study_walks_on_and_stays_inside_its_space(
    sampler: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With more rows than asks are tried: a walk that began anew would find nothing new."""
    monkeypatch.setattr("sweeps.plan.sources.TRIES", 5)
    results, search = (
        Results(str(tmp_path / "results")),
        {"sampler": sampler, "space": {"alpha": [-3.0, 0.0]}},
    )
    start, longer = (
        parse({**SEARCH, "forget": [0], "search": {"trials": n, **search}}) for n in (8, 12)
    )
    done = drive(PackSearcher(sources(start, tmp_path), SITE, lambda needs: 2, False), results)
    assert done == drive(
        PackSearcher(sources(start, tmp_path / "elsewhere"), SITE, lambda needs: 2, False)
    )
    (study,) = sources(longer, tmp_path)
    more = study.take(study.left)
    assert len({cell.cell_id for cell in done + more}) == 12
    assert not study.study.get_trials(states=[TrialState.FAIL])  # no ask was a repeat
    assert all(-3.0 < dict(cell.knobs)["alpha"] < 0.0 for cell in more)


def test_a_study_leaves_rows_alone_that_lie_outside_of_its_space(tmp_path: Path) -> None:
    """The space was narrowed under the same name: what lies outside is no trial of this study."""
    results, store = Results(str(tmp_path / "results")), Store(str(tmp_path / "store"))
    wide, narrow = (
        parse(
            {
                **SEARCH,
                "forget": [0],
                "search": {"trials": 8, "space": {"alpha": [-3.0, 0.0], "rho": rho}},
            }
        )
        for rho in ([0.0, 0.99], [0.5, 0.99])
    )
    done = drive(PackSearcher(sources(wide, tmp_path), SITE, lambda needs: 2, False), results)
    inside = {cell.cell_id for cell in done if dict(cell.knobs)["rho"] >= 0.5}
    assert 0 < len(inside) < 8
    plan = make_plan([narrow], store, results)
    assert (plan.done, plan.cells, plan.sources[0].ids) == (len(inside), 8 - len(inside), inside)
    assert len(
        drive(PackSearcher(list(plan.sources), SITE, lambda needs: 2, False), results)
    ) == 8 - len(inside)
    assert make_plan([narrow], store, results).cells == 0


@pytest.mark.parametrize("space", [{"alpha": [-3.0, 0.0]}, {"recalibrate": [False, True]}])
def test_a_study_leaves_rows_of_another_method_alone(space: dict[str, Any], tmp_path: Path) -> None:
    """Fine-tuning under the same name: its rows have nulls for the knobs of task arithmetic."""
    results, store = Results(str(tmp_path / "results")), Store(str(tmp_path / "store"))
    other = parse({**SEARCH, "method": "fine-tune", "search": None})
    drive(PackSearcher(sources(other, tmp_path), SITE, lambda needs: 2, False), results)
    plan = make_plan([parse({**SEARCH, "search": {"trials": 2, "space": space}})], store, results)
    assert (plan.done, plan.cells) == (0, 4)


def test_a_continuous_space_that_is_too_narrow_is_refused(tmp_path: Path) -> None:
    space = {"alpha": [-5e-324, 0.0]}  # neighbours
    narrow = parse({**SEARCH, "search": {"trials": 3, "sampler": "random", "space": space}})
    with pytest.raises(BadInput, match="no new point of sweep ta; widen"):
        sources(narrow, tmp_path)[0].take(3)


def test_tpe_finds_the_good_corner(tmp_path: Path) -> None:
    """On a made-up landscape the second half of the asks is better than the first, random one."""
    one = parse({**SEARCH, "forget": [0], "search": {**SEARCH["search"], "trials": 60}})
    done = drive(PackSearcher(sources(one, tmp_path), SITE, lambda needs: 1, False))
    value = [
        truth(cell)["val_retain_accuracy"] - 1.5 * truth(cell)["val_forget_accuracy"]
        for cell in done
    ]
    assert sum(value[30:]) / 30 > sum(value[:10]) / 10


def test_a_small_space_is_searched_without_repeats(tmp_path: Path) -> None:
    document = {
        **SEARCH,
        "method": "fine-tune",
        "forget": [0],
        "search": {"trials": 12, "space": {"steps": [1, 12]}},
    }
    done = drive(PackSearcher(sources(parse(document), tmp_path), SITE, lambda needs: 3, False))
    assert sorted(dict(cell.knobs)["steps"] for cell in done) == list(range(1, 13))


def test_the_knob_says_what_its_bounds_mean(tmp_path: Path) -> None:
    """[-3, 0] is an interval to a float, [1.0, 12.0] twelve points to an integer."""
    whole = {
        **SEARCH,
        "forget": [0],
        "search": {"trials": 12, "sampler": "random", "space": {"alpha": [-3, 0]}},
    }
    floats = {**whole, "search": {**whole["search"], "space": {"alpha": [-3.0, 0.0]}}}
    asked, the_same = (
        drive(PackSearcher(sources(parse(each), tmp_path), SITE, lambda needs: 1, False))
        for each in (whole, floats)
    )
    assert asked == the_same
    assert not any(dict(cell.knobs)["alpha"].is_integer() for cell in asked)
    steps = {
        **whole,
        "method": "fine-tune",
        "search": {"trials": 12, "space": {"steps": [1.0, 12.0]}},
    }
    done = drive(PackSearcher(sources(parse(steps), tmp_path), SITE, lambda needs: 3, False))
    assert sorted(dict(cell.knobs)["steps"] for cell in done) == list(range(1, 13))


def test_a_resumed_plan_costs_what_its_rows_took_and_reads_them_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = Results(str(tmp_path / "results"))
    for cell, wall_s in zip(
        sources(parse(SEARCH), tmp_path)[0].take(3), (2.0, 3.0, 50.0), strict=True
    ):
        outcome = {
            "status": "ok",
            "wall_s": wall_s,
            "created_at": pd.Timestamp.now("UTC").to_pydatetime(),
        }
        results.write("ta", row_of(cell, outcome | truth(cell)))
    read: list[str] = []
    plain = Results.read
    monkeypatch.setattr(Results, "read", lambda self, name: read.append(name) or plain(self, name))
    plan = make_plan([parse(SEARCH)], Store(str(tmp_path / "store")), results)
    cost = estimate(plan)
    assert read == ["ta"]
    assert cost.cells_s == cost.measured == 3.0 * plan.cells == 3.0 * 57


def test_plan_says_what_it_would_do_without_ray(tmp_path: Path) -> None:
    store, results = Store(str(tmp_path / "store")), Results(str(tmp_path / "results"))
    plan = make_plan([parse(SEARCH)], store, results)
    assert [recipe.kind for recipe in plan.build] == [
        "original",
        "oracle",
        "expert",
        "oracle",
        "expert",
    ]
    cost = estimate(plan)
    assert cost.artifacts_s > 0
    assert cost.cells_s > 0
    assert "cells: 60 to run, 0 done" in describe(plan, cost)


def table(values: list[tuple[float, float]]) -> pd.DataFrame:
    rows = [
        {
            "cell_id": str(i),
            "status": "ok",
            "val_stopped": None,
            "eval_candidates": "full",
            "task": "classifier",
            "val_forget_accuracy": f,
            "val_retain_accuracy": r,
            "val_forget_probability": None,
        }
        for i, (f, r) in enumerate(values)
    ]
    return pd.DataFrame(rows)


def test_pareto_front_by_hand_and_by_brute_force() -> None:
    values = [(0.0, 0.5), (0.1, 0.9), (0.1, 0.8), (0.5, 0.95), (0.0, 0.5), (1.0, 0.94)]
    assert pareto(table(values)).tolist() == [True, True, False, True, True, False]
    brute = [
        not any((f <= a and r >= b) and (f < a or r > b) for f, r in values) for a, b in values
    ]
    assert pareto(table(values)).tolist() == brute


def test_candidates_are_candidates_until_one_is_confirmed() -> None:
    rows = table([(0.0, 0.5), (0.1, 0.9), (0.1, 0.99), (0.0, 0.4)])
    rows["eval_candidates"], rows["val_stopped"] = "val", [False, False, True, False]
    assert choose(rows).row["cell_id"] == "1"  # what stopped shows a part of val, however good
    rows.loc[3, "eval_candidates"] = "full"
    assert choose(rows).row["cell_id"] == "3"


def test_of_cells_that_tie_the_one_is_chosen_that_was_attacked() -> None:
    """A sweep that was run again with attacks: its rows without any stand beside, with the same scores."""
    rows = table([(0.0, 0.9)] * 4)
    rows["eval_attacks"] = [[], ["lira"], ["lira", "linear-probe"], ["lira"]]
    assert choose(rows).row["cell_id"] == "2"
    assert choose(rows[rows["cell_id"] != "2"]).row["cell_id"] == "1"


def test_when_all_candidates_are_read_the_chosen_one_is_scored_in_full(tmp_path: Path) -> None:
    results, store = Results(str(tmp_path / "results")), Store(str(tmp_path / "store"))
    sweep = parse({**SEARCH, "eval": {"candidates": "val"}})
    plan = make_plan([sweep], store, results)
    assert (plan.cells, plan.later) == (62, 2)
    searcher = PackSearcher(list(plan.sources), SITE, lambda needs: 2, False)
    done = drive(searcher, results)
    for source in plan.sources:
        tried = [truth(cell) for cell in done if cell.cell_id in source.ids]
        best = max(t["val_retain_accuracy"] - 1.5 * t["val_forget_accuracy"] for t in tried)
        assert source.bars.of("task-arithmetic") == best
    plan = make_plan([sweep], store, results)
    assert (plan.cells, plan.later, plan.done) == (2, 0, 60)
    confirmed = drive(PackSearcher(list(plan.sources), SITE, lambda needs: 2, False), results)
    assert [cell.problem.eval.candidates for cell in confirmed] == ["full", "full"]
    for cell in confirmed:
        tried = [truth(c) for c in done if c.problem.forget == cell.problem.forget]
        best = max(t["val_retain_accuracy"] - 1.5 * t["val_forget_accuracy"] for t in tried)
        assert truth(cell)["val_retain_accuracy"] - 1.5 * truth(cell)["val_forget_accuracy"] == best
    assert make_plan([sweep], store, results).cells == 0


@pytest.mark.parametrize("of", ["grid", "study"])
def test_a_narrower_sweep_does_not_choose_among_what_stopped_because_of_what_it_leaves_out(
    of: str, tmp_path: Path
) -> None:
    results, store = Results(str(tmp_path / "results")), Store(str(tmp_path / "store"))

    def sweep(name: str, *alphas: float) -> Sweep:
        space = {"trials": len(alphas), "space": {"alpha": [alphas[0], alphas[-1]]}}
        kind: dict[str, Any] = (
            {"search": space}
            if of == "study"
            else {"search": None, "grid": {"alpha": list(alphas)}}
        )
        return parse({**SEARCH, "name": name, "forget": [0], **kind, "eval": {"candidates": "val"}})

    def chosen(*alphas: float) -> list[Any]:
        (source,) = make_plan([sweep("ta", *alphas)], store, results).sources
        return [cell.knobs for cell in source.take(9)]

    tried = sources(sweep("ta", -3.0, -2.0, -1.0), tmp_path)[0].take(3)
    strong, middle, weak = sorted(tried, key=lambda cell: dict(cell.knobs)["alpha"])
    alphas = [dict(cell.knobs)["alpha"] for cell in (strong, middle, weak)]

    def read(cell: Cell, forget: float, retain: float, bar: float | None) -> None:
        stamp = pd.Timestamp.now("UTC").to_pydatetime()
        outcome = {
            "status": "ok",
            "val_stopped": bar is not None,
            "val_bar": bar,
            "created_at": stamp,
        }
        results.write(
            "ta",
            row_of(cell, outcome | {"val_forget_accuracy": forget, "val_retain_accuracy": retain}),
        )

    read(strong, 0.0, 0.9, None)
    read(weak, 0.2, 0.95, None)
    read(middle, 0.03, 0.93, 0.9)
    assert chosen(*alphas) == chosen(*alphas[:2]) == [strong.knobs]
    with pytest.raises(
        BadInput,
        match="stopped because of a better one that the spec now leaves out; give the narrow",
    ):
        chosen(*alphas[1:])
    assert (
        make_plan([sweep("other", *alphas[1:])], store, results).cells == 3
    )  # two candidates and a choice
    read(middle, 0.03, 0.93, 0.95 - 1.5 * 0.2)  # by one that stays
    assert chosen(*alphas[1:]) == [weak.knobs]


def failed(results: Results, cells: list[Cell]) -> None:
    """As if they had failed at once: over a good row none is written."""
    for cell in cells:
        Path(results.cell_file("ta", cell.cell_id)).unlink(missing_ok=True)
        outcome = {
            "status": "failed",
            "error": "by hand",
            "created_at": pd.Timestamp.now("UTC").to_pydatetime(),
        }
        results.write("ta", row_of(cell, outcome))


def test_candidates_of_a_grid_are_read_in_mixed_order(tmp_path: Path) -> None:
    """One method after the other; a grid as it is written down may begin with its worst."""
    alphas = [-0.1 * n for n in range(30)]
    document = {
        **SEARCH,
        "search": None,
        "method": ["sign-consensus", "task-arithmetic"],
        "grid": {"alpha": alphas},
    }
    listed, mixed = (
        sources(parse({**document, "eval": {"candidates": how}}), tmp_path)[0].take(60)
        for how in ("full", "val")
    )
    assert [cell.method for cell in mixed] == ["sign-consensus"] * 30 + ["task-arithmetic"] * 30
    ours, theirs = ([dict(cell.knobs)["alpha"] for cell in cells[:30]] for cells in (mixed, listed))
    assert sorted(ours) == sorted(theirs)
    rise = sum(a < b for a, b in pairwise(ours))
    assert 5 < rise < 24  # of 29 steps: neither up nor down all along


@pytest.mark.parametrize(
    "kind", [{"search": None, "grid": {"alpha": [-1.0, -2.0, -3.0, -4.0]}}, {}]
)
def test_a_resumed_source_begins_with_the_bar_that_its_rows_set(
    kind: dict[str, Any], tmp_path: Path
) -> None:
    """Neither a candidate that failed sets one, nor one that stopped, nor one of another forget set."""
    results = Results(str(tmp_path / "results"))
    sweep = parse({**SEARCH, "eval": {"candidates": "val"}, **kind})
    first, other = sources(sweep, tmp_path)
    assert first.bars.best == {}
    read = [("ok", False, 0.5), ("ok", True, 0.9), ("failed", None, None), ("ok", False, 0.95)]
    for cell, (status, stopped, retain) in zip([*first.take(3), *other.take(1)], read, strict=True):
        stamp = pd.Timestamp.now("UTC").to_pydatetime()
        outcome = {
            "status": status,
            "val_stopped": stopped,
            "val_retain_accuracy": retain,
            "created_at": stamp,
        }
        forget = None if status == "failed" else 0.2
        results.write("ta", row_of(cell, {**outcome, "val_forget_accuracy": forget}))
    again = sources(sweep, tmp_path)[0]
    assert again.left == first.left
    assert again.bars.best == {"task-arithmetic": pytest.approx(0.2)}


def test_what_failed_is_done_until_it_is_to_be_tried_again(tmp_path: Path) -> None:
    """Of candidates that all failed none is chosen; a chosen cell that failed is tried again, its candidates first."""
    results, store = Results(str(tmp_path / "results")), Store(str(tmp_path / "store"))
    grid = {"alpha": [-1.0, -2.0, -3.0]}
    sweep = parse({**SEARCH, "search": None, "grid": grid, "eval": {"candidates": "val"}})
    one, other = [source.take(source.left) for source in make_plan([sweep], store, results).sources]
    failed(results, one)
    drive(PackSearcher([Grid(sweep, other)], SITE, lambda needs: 2, False), results)
    plan = make_plan([sweep], store, results)
    assert (plan.cells, plan.later) == (
        1,
        0,
    )  # the second forget set's choice; the first has nothing to choose from
    (chosen,) = plan.sources[0].take(9)
    failed(results, [chosen])
    assert make_plan([sweep], store, results).cells == 0
    failed(results, other[:1])
    plan = make_plan([sweep], store, results, retry_failed=True)
    assert (plan.cells, plan.later) == (6, 2)  # four candidates, then two choices
    drive(PackSearcher(list(plan.sources), SITE, lambda needs: 2, True), results)
    assert make_plan([sweep], store, results).cells == 1  # the second's choice has its failed row
    plan = make_plan([sweep], store, results, retry_failed=True, confirming=True)
    assert {cell.cell_id for source in plan.sources for cell in source.take(9)} >= {chosen.cell_id}


@pytest.mark.parametrize(("trials", "new"), [(6, 0), (8, 2), (1, 0)])
def test_a_study_asks_for_its_failed_cells_again_before_new_ones(
    trials: int, new: int, tmp_path: Path
) -> None:
    """Whatever has become of its trials; and it learns what they come to."""
    results, store = Results(str(tmp_path / "results")), Store(str(tmp_path / "store"))
    space = {"alpha": [-3.0, 0.0], "recalibrate": [False, True]}
    six, now = (
        parse({**SEARCH, "forget": [0], "search": {"trials": n, "space": space}})
        for n in (6, trials)
    )
    done = drive(PackSearcher(sources(six, tmp_path), SITE, lambda needs: 2, False), results)
    failed(results, done[2:4])
    assert {row["cell_id"] for row in make_plan([now], store, results).errors} == {
        cell.cell_id for cell in done[2:4]
    }
    plan = make_plan([now], store, results, retry_failed=True)
    assert (plan.cells, plan.done, plan.errors) == (2 + new, 4, ())
    asked = drive(PackSearcher(list(plan.sources), SITE, lambda needs: 2, True), results)
    assert {cell.cell_id for cell in asked[:2]} == {cell.cell_id for cell in done[2:4]}
    assert len(plan.sources[0].study.get_trials(states=[TrialState.COMPLETE])) == 6 + new
    plan = make_plan([now], store, results, retry_failed=True)
    assert (plan.cells, plan.done, plan.errors) == (0, 6 + new, ())


def test_the_choice_reads_val_alone_and_is_on_the_front() -> None:
    rows = table([(0.0, 0.5), (0.1, 0.9), (0.5, 0.95)])
    rows["test_forget_accuracy"], rows["test_retain_accuracy"] = [0.0, 1.0, 0.0], [1.0, 0.0, 1.0]
    assert choose(rows).row["cell_id"] == "1"
    rows.loc[1, "status"] = "failed"
    assert choose(rows).row["cell_id"] == "0"
    with pytest.raises(BadInput, match="no finished cell"):
        choose(rows.assign(status="failed"))


def test_ties_fall_alike_however_the_cells_are_named() -> None:
    rows = table([(0.0, 0.5), (0.1, 0.9), (0.1, 0.9)])
    rows["alpha"], rows["rho"] = [-1.0, -2.0, -2.0], [0.5, 0.9, 0.7]
    for names in (["a", "b", "c"], ["c", "b", "a"], ["b", "c", "a"]):
        assert choose(rows.assign(cell_id=names)).row["rho"] == 0.7
