"""Running a plan, as far as it can be tested without Ray. The rest is in tests/e2e."""

import contextlib
import signal
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import ray
from ray.tune.execution import class_cache
from ray.tune.search import Searcher

from sweeps.compute import artifacts
from sweeps.plan.plan import Plan
from sweeps.rows.runs import read_record
from sweeps.run import run as running
from sweeps.run.budget import Allowance, Budget
from sweeps.run.places import places_for
from sweeps.run.run import RunResult, run
from sweeps.run.tune import Reporter, describe_loss, interruptions, waiting_workers
from sweeps.spec.cells import Cell
from tests.sweeps import builders as make
from tests.sweeps import packs
from tests.sweeps.run.stand_ins import InPlace, Tuner
from unlearn.errors import BadInput

Told = list[tuple[str, int, str]]


def planned(folder: Path, **changes: Any) -> Plan:
    return make.plan(folder, make.sweep(**changes))


def run_in(
    folder: Path,
    told: Told | None = None,
    joined: bool = False,
    budget: Budget | None = None,
    **changes: Any,
) -> RunResult:
    """Run the changed spec in `folder`; `told` hears of its progress."""
    heard = told if told is not None else []
    plan, places = planned(folder, **changes), packs.places(folder)
    return run(plan, places, lambda *stage: heard.append(stage), joined=joined, budget=budget)


def test_what_a_ray_of_our_own_cannot_give_is_refused_before_anything_is_made(
    tmp_path: Path, tuner: type[Tuner]
) -> None:
    says = (
        "sweep s asks 1 CPU and 0.25 GPU of one node, the largest has 1 CPU and 0 GPU; "
        "--set resources.gpu=0"
    )
    with pytest.raises(BadInput, match=f"^{says}$"):
        run_in(tmp_path, resources={"gpu": 0.25})
    assert not list(tmp_path.iterdir())
    assert run_in(tmp_path).cells == 1


def test_without_a_gpu_a_share_that_is_left_open_is_none(
    tmp_path: Path, tuner: type[Tuner], in_place: InPlace
) -> None:
    given: list[float] = []

    def fitting(own: Tuner) -> None:
        given.append(packs.ask(own.searcher, "a").gpu)

    tuner.fitting = staticmethod(fitting)
    run_in(tmp_path, resources={"gpu": "auto"})
    assert given == [0]
    assert {options["num_gpus"] for options in in_place.options.values()} == {0}


def test_what_a_cluster_cannot_give_yet_is_a_warning(
    tmp_path: Path,
    tuner: type[Tuner],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The error names the live node that comes closest to what is asked."""
    nodes = [
        {"Alive": True, "Resources": {"CPU": 4.0, "GPU": 1.0}},
        {"Alive": True, "Resources": {"CPU": 16.0}},
        {"Alive": False, "Resources": {"CPU": 64.0, "GPU": 8.0}},
    ]
    monkeypatch.setattr(ray, "nodes", lambda: nodes)
    for fits in ({"cpu": 16}, {"cpu": 4, "gpu": 0.5}, {"gpu": 1}):
        run_in(tmp_path, joined=True, resources=fits)
        assert capsys.readouterr().err == ""
    for lacks, closest in (
        ({"cpu": 8, "gpu": 1}, "4 CPU and 1 GPU"),
        ({"cpu": 17}, "16 CPU and 0 GPU"),
    ):
        run_in(tmp_path, joined=True, resources=lacks)
        [line] = capsys.readouterr().err.splitlines()
        assert line.startswith("warning: sweep s asks")
        assert line.endswith(f"the largest has {closest}; it waits until a larger one joins")


@pytest.mark.parametrize("joined", [False, True])
def test_actors_of_a_ray_of_our_own_have_no_variables_of_the_driver(
    joined: bool, tmp_path: Path, tuner: type[Tuner]
) -> None:
    """So that they are workers which wait already; a Ray that was joined may lack the variables."""

    def given() -> tuple[Any, Any]:
        return class_cache.DEFAULT_ENV_VARS, class_cache.ENV_VARS_TO_PROPAGATE

    before, inside = given(), []
    tuner.fitting = staticmethod(lambda own: inside.append(given()))
    run_in(tmp_path, joined=joined)
    assert inside == [before if joined else ({}, {})]
    assert given() == before
    assert all(before)


def test_a_ray_without_these_names_runs_and_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delattr(class_cache, "DEFAULT_ENV_VARS")
    with waiting_workers():
        assert class_cache.ENV_VARS_TO_PROPAGATE
    assert "starts a new process for every actor" in capsys.readouterr().err


def broken(cache: Any, recipe: Any) -> Any:
    raise OSError("disk full")


RETAIN = {5: 0.7, 6: 0.8, 7: 0.6}  # accuracy on val by the steps of fine-tuning


def on_val(cell: Cell) -> dict[str, Any]:
    """Scores on val that depend on the steps, where the method takes steps."""
    steps = int(make.knobs(cell).get("steps", 0))
    return {"val_forget_accuracy": 0.0, "val_retain_accuracy": RETAIN.get(steps, 0.9)}


def handed_out(tuner: Tuner) -> list[Cell]:
    """Every cell that the searcher hands out, each scored as good."""
    found: list[Cell] = []
    for number in range(99):
        pack = packs.ask(tuner.searcher, str(number))
        if pack == Searcher.FINISHED:
            break
        found += pack.cells
        tuner.searcher.on_trial_complete(str(number), packs.result(pack, on_val))
    return found


@pytest.mark.parametrize(
    "methods", [["task-arithmetic", "fine-tune"], ["fine-tune", "task-arithmetic"]]
)
def test_only_the_cells_that_need_a_broken_artifact_fail(
    tmp_path: Path, methods: list[str], tuner: type[Tuner], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(artifacts.MAKERS, "expert", broken)
    left: list[Cell] = []
    monkeypatch.setattr(tuner, "fitting", lambda tune: left.extend(handed_out(tune)))
    told: Told = []
    run_in(tmp_path, told, method=methods, grid={"lr": [1e-3, 1e-4], "alpha": [-1.0]})
    assert [make.method(cell) for cell in left] == ["fine-tune", "fine-tune"]
    rows = make.results(tmp_path).read("s")
    assert [stage for stage, *_ in told if stage == "cells"] == ["cells"] * len(rows)
    assert set(zip(rows["method"], rows["status"], rows["error"], strict=True)) == {
        ("task-arithmetic", "failed", "expert cnn of [1] seed 0: OSError: disk full")
    }


def test_a_study_whose_artifact_is_broken_fails_as_a_whole(
    tmp_path: Path, tuner: type[Tuner], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(artifacts.MAKERS, "expert", broken)
    monkeypatch.setattr(tuner, "fitting", lambda tune: pytest.fail("no cell is left to run"))
    search = {"trials": 3, "space": {"alpha": [-2.0, 0.0]}}
    run_in(tmp_path, method="task-arithmetic", search=search)
    rows = make.results(tmp_path).read("s")
    assert len(rows) == 3
    assert set(rows["error"]) == {"expert cnn of [1] seed 0: OSError: disk full"}


def test_a_ctrl_c_that_was_swallowed_is_raised_at_the_next_result(
    tmp_path: Path, tuner: type[Tuner], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = signal.getsignal(signal.SIGINT)
    nothing: Any = None

    def fit(tune: Tuner) -> None:
        tune.report.on_trial_result(1, [], nothing, {})
        with contextlib.suppress(KeyboardInterrupt):  # as a library's callback would
            signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            tune.report.on_trial_result(2, [], nothing, {})

    monkeypatch.setattr(tuner, "fitting", fit)
    with pytest.raises(KeyboardInterrupt):  # Tune took it for an end: the run does not
        run_in(tmp_path)
    assert signal.getsignal(signal.SIGINT) is before


def test_ctrl_c_is_still_a_keyboard_interrupt() -> None:
    with pytest.raises(KeyboardInterrupt), interruptions():
        signal.raise_signal(signal.SIGINT)


def test_sigterm_is_handled_as_before_and_remembered() -> None:
    heard: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))
    try:
        with interruptions() as interrupted:
            signal.raise_signal(signal.SIGTERM)
            assert interrupted.is_set()
        assert heard == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_hang_up_that_is_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with interruptions() as interrupted:
            signal.raise_signal(signal.SIGHUP)
            assert not interrupted.is_set()
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (None, "a worker of s with 1 cells died (killed, or out of memory); they run again, try 2"),
        (RuntimeError("a\nlast"), "a worker of s with 1 cells died (last); they run again, try 2"),
        (
            RuntimeError("its node has died.\nNode Id: 0123456789abcdef\n"),
            "node 01234567 died; its cells run again on the others",
        ),
    ],
)
def test_a_lost_worker_or_node_is_one_line(error: Exception | None, says: str) -> None:
    pack = packs.pack([make.cell()])
    assert describe_loss(pack, error) == f"warning: {says}"


def test_the_last_loss_says_that_the_cells_fail() -> None:
    pack = replace(packs.pack([make.cell()]), attempt=3)
    assert describe_loss(pack, None).endswith("they get failed rows")


def test_a_dead_node_is_told_once_however_many_workers_it_had(
    capsys: pytest.CaptureFixture[str],
) -> None:
    error = RuntimeError("its node has died.\nNode Id: 0123456789abcdef\n")
    config = packs.config(packs.pack([make.cell()]))
    trial: Any = SimpleNamespace(config=config, last_result={}, get_pickled_error=lambda: error)
    reporter = Reporter(lambda reports: None, Event())
    for iteration in range(3):
        reporter.on_trial_error(iteration, [], trial)
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_pack_whose_worker_dies_after_its_report_is_done(
    capsys: pytest.CaptureFixture[str],
) -> None:
    pack = packs.pack([make.cell()])
    result = packs.result(pack, wall_s=1.0)
    told: list[Any] = []
    Reporter(told.append, Event()).on_trial_error(1, [], SimpleNamespace(last_result=result))  # type: ignore[arg-type]
    assert told == [result["reports"]]
    assert capsys.readouterr().err == ""


def test_progress_counts_a_pack_once_however_often_it_is_heard_of(
    tmp_path: Path, tuner: type[Tuner], monkeypatch: pytest.MonkeyPatch
) -> None:
    run_in(tmp_path)  # makes the artifacts, whose seconds count too
    one, two = make.cells(grid={"steps": [5, 6]})
    reports = packs.result(packs.pack([one]), wall_s=2.0)["reports"]
    reports += packs.result(packs.pack([two]), wall_s=1.5, status="failed")["reports"]
    told: Told = []
    trial: Any = SimpleNamespace(last_result={"reports": reports})

    def fit(tune: Tuner) -> None:
        for step in range(3):
            tune.report.on_trial_result(step, [], trial, {"reports": reports})
        assert told == []
        for cell in (one, two):
            make.write(make.results(tmp_path), cell)
        tune.report.on_trial_complete(3, [], trial)

    monkeypatch.setattr(tuner, "fitting", fit)
    ran = run_in(tmp_path, told)
    assert (told, ran.computed_s) == ([("cells", 2, "1 failed")], 3.5)
    assert len(pd.read_parquet(tmp_path / "results" / "v1")) == 2


@pytest.mark.parametrize("fails", [False, True])
def test_what_tune_writes_lies_on_this_machine_and_goes(
    fails: bool, tmp_path: Path, tuner: type[Tuner], monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch: list[Path] = []

    def fit(tune: Tuner) -> None:
        scratch.append(tune.scratch)
        (tune.scratch / "run").mkdir(parents=True)
        if fails:
            raise RuntimeError("Tune")

    monkeypatch.setattr(tuner, "fitting", fit)
    with pytest.raises(RuntimeError) if fails else contextlib.nullcontext():
        run_in(tmp_path)
    assert not scratch[0].exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["results", "store"]
    visible = [path.name for path in (tmp_path / "results" / "v1").glob("[!.]*")]
    assert visible == []


def test_places_that_workers_cannot_reach_are_refused() -> None:
    with pytest.raises(BadInput, match="memory://rows lies in the memory of one process"):
        places_for("store", "memory://rows", "data")
    with pytest.raises(BadInput, match="cannot reach 'no-such://rows'"):
        places_for("store", "no-such://rows", "data")


def test_what_val_chose_is_scored_in_the_same_run(tmp_path: Path, tuner: type[Tuner]) -> None:
    handed: list[tuple[int, str]] = []

    def fit(tune: Tuner) -> None:
        for each in handed_out(tune):
            handed.append((int(make.knobs(each)["steps"]), each.problem.eval.candidates))

    tuner.fitting = staticmethod(fit)
    ran = run_in(tmp_path, grid={"steps": [5, 6, 7]}, eval={"candidates": "val"})
    *candidates, chosen = handed
    assert sorted(candidates) == [(5, "val"), (6, "val"), (7, "val")]
    assert chosen == (6, "full")
    assert ran.cells == 4


@pytest.mark.parametrize("resumed", [False, True])
def test_a_broken_artifact_fails_candidates_and_what_is_chosen_among_earlier_ones(
    tmp_path: Path, tuner: type[Tuner], monkeypatch: pytest.MonkeyPatch, resumed: bool
) -> None:
    """It is made once; a method without any candidate has no chosen cell."""
    methods = ["fine-tune", "task-arithmetic"]
    spec: dict[str, Any] = {
        "method": methods,
        "grid": {"alpha": [-1.0, -2.0]},
        "eval": {"candidates": "val"},
    }
    if resumed:
        first = next(cell for cell in make.cells(**spec) if make.method(cell) != "fine-tune")
        make.write(make.results(tmp_path), first, **on_val(first))
    handed: list[tuple[str, str]] = []

    def fit(tune: Tuner) -> None:
        for each in handed_out(tune):
            handed.append((make.method(each), each.problem.eval.candidates))

    monkeypatch.setattr(tuner, "fitting", fit)
    monkeypatch.setitem(artifacts.MAKERS, "expert", broken)
    told: Told = []
    ran = run_in(tmp_path, told, **spec)
    assert handed == [("fine-tune", "val"), ("fine-tune", "full")]
    record = read_record(make.results(tmp_path), "s")
    assert record is not None
    assert (ran.cells, record.planned) == (4, 4)
    made = [what for stage, _, what in told if stage == "prepare"]
    assert made.count("expert cnn of [1] seed 0") == 1
    rows = make.results(tmp_path).read("s")
    failed = rows[rows["status"] == "failed"]
    kinds = sorted(failed["eval_candidates"])
    assert kinds == (["full", "val"] if resumed else ["val", "val"])
    assert set(failed["error"]) == {"expert cnn of [1] seed 0: OSError: disk full"}


def test_a_ray_that_nobody_tried_is_a_single_warning(
    tmp_path: Path,
    tuner: type[Tuner],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(ray, "__version__", "9.9.9")
    run_in(tmp_path)
    warnings = capsys.readouterr().err.splitlines()
    assert len(warnings) == 1
    assert warnings[0].startswith("warning: Ray 9.9.9 was never tried, only 2.60;")


@pytest.mark.parametrize("has_row", [False, True])
def test_cells_that_a_spent_budget_keeps_from_another_try_are_left(
    has_row: bool, tmp_path: Path, tuner: type[Tuner], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unless their worker died after it had written their row."""
    clock = [0.0]
    monkeypatch.setattr(running, "Allowance", partial(Allowance, now=lambda: clock[0]))

    def fit(tune: Tuner) -> None:
        pack = packs.ask(tune.searcher, "a")
        if has_row:
            make.write(make.results(tmp_path), pack.cells[0])
        clock[0] = 60.0
        tune.searcher.on_trial_complete("a", error=True)
        assert packs.ask(tune.searcher, "b") == Searcher.FINISHED

    monkeypatch.setattr(tuner, "fitting", fit)
    told: Told = []
    ran = run_in(tmp_path, told, budget=Budget(seconds=60), grid={"steps": [5, 6]})
    assert (ran.cells, ran.left) == (2, 1 if has_row else 2)
    assert [event for event in told if event[0] == "cells"] == [("cells", 1, "")] * has_row
