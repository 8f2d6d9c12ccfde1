"""Running a plan: what needs little or no Ray to be seen. The rest is in tests/e2e."""

import contextlib
import signal
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any

import pytest
import ray
from ray import tune

from sweeps.plan.plan import Plan, make_plan
from sweeps.rows.results import Results
from sweeps.run.run import (
    _check_room,
    _Clock,
    _fit,
    _Report,
    _without_broken,
    ctrl_c,
    places_for,
    run,
)
from sweeps.run.searcher import PackSearcher
from sweeps.spec.parse import parse
from unlearn.artifacts import Store
from unlearn.errors import BadInput

SPEC: dict[str, Any] = {"name": "s", "models": "cnn", "method": "fine-tune", "forget": [1]}


def planned(folder: Path, **changes: Any) -> Plan:
    return make_plan(
        [parse({**SPEC, **changes})], Store(str(folder / "store")), Results(str(folder / "results"))
    )


def test_what_a_ray_of_our_own_cannot_give_is_refused_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray, "nodes", lambda: [{"Alive": True, "Resources": {"CPU": 1.0}}])
    plan = planned(tmp_path, resources={"gpu": 0.25})
    places = places_for(str(tmp_path / "store"), str(tmp_path / "results"), "data")
    says = "sweep s asks 1 CPU and 0.25 GPU of one node, the largest has 1 CPU and 0 GPU; --set resources.gpu=0"
    with pytest.raises(BadInput, match=f"^{says}$"):
        run(plan, places, lambda *_: None)
    assert not list(tmp_path.iterdir())
    _check_room(planned(tmp_path), growing=False)


def test_what_a_cluster_cannot_give_yet_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of the nodes that are alive, the one closest to what is asked is named."""
    nodes = [
        {"Alive": True, "Resources": {"CPU": 4.0, "GPU": 1.0}},
        {"Alive": True, "Resources": {"CPU": 16.0}},
        {"Alive": False, "Resources": {"CPU": 64.0, "GPU": 8.0}},
    ]
    monkeypatch.setattr(ray, "nodes", lambda: nodes)
    for fits in ({"cpu": 16}, {"cpu": 4, "gpu": 0.5}, {"gpu": 1}):
        _check_room(planned(tmp_path, resources=fits), growing=True)
        assert capsys.readouterr().err == ""
    for lacks, closest in (
        ({"cpu": 8, "gpu": 1}, "4 CPU and 1 GPU"),
        ({"cpu": 17}, "16 CPU and 0 GPU"),
    ):
        _check_room(planned(tmp_path, resources=lacks), growing=True)
        [line] = capsys.readouterr().err.splitlines()
        assert line.startswith("warning: sweep s asks")
        assert line.endswith(f"the largest has {closest}; it waits until a larger one joins")


@pytest.mark.parametrize(
    "methods", [["task-arithmetic", "fine-tune"], ["fine-tune", "task-arithmetic"]]
)
def test_only_the_cells_that_need_a_broken_artifact_fail(
    tmp_path: Path, methods: list[str]
) -> None:
    plan = planned(tmp_path, method=methods, grid={"lr": [1e-3, 1e-4], "alpha": [-1.0]})
    places = places_for(str(tmp_path / "store"), str(tmp_path / "results"), "data")
    [expert] = {cell.problem.expert.key for cell in plan.sources[0].cells}
    told: list[str] = []
    [left] = _without_broken(
        plan, {expert: "OSError: disk full"}, places, _Clock(lambda stage, *_: told.append(stage))
    )
    assert [cell.method for cell in left.cells] == ["fine-tune", "fine-tune"]
    rows = Results(places.results).read("s")
    assert told == ["cells"] * len(rows)
    assert set(zip(rows["method"], rows["status"], rows["error"], strict=True)) == {
        ("task-arithmetic", "failed", "OSError: disk full")
    }


def test_a_study_whose_artifact_is_broken_fails_as_a_whole(tmp_path: Path) -> None:
    plan = planned(
        tmp_path, method="task-arithmetic", search={"trials": 3, "space": {"alpha": [-2.0, 0.0]}}
    )
    places = places_for(str(tmp_path / "store"), str(tmp_path / "results"), "data")
    expert = plan.sources[0].problem.expert.key
    assert (
        _without_broken(plan, {expert: "OSError: disk full"}, places, _Clock(lambda *_: None)) == []
    )
    rows = Results(places.results).read("s")
    assert (len(rows), set(rows["error"])) == (3, {"OSError: disk full"})


def test_a_ctrl_c_that_was_swallowed_is_raised_at_the_next_result() -> None:
    before = signal.getsignal(signal.SIGINT)
    with ctrl_c() as struck:
        report = _Report(_Clock(lambda *_: None), struck)
        report.on_trial_result(1, [], None, {})  # type: ignore[arg-type]
        with contextlib.suppress(KeyboardInterrupt):  # as a library's callback would
            signal.raise_signal(signal.SIGINT)
        assert struck.is_set()
        with pytest.raises(KeyboardInterrupt):
            report.on_trial_result(2, [], None, {})  # type: ignore[arg-type]
    assert signal.getsignal(signal.SIGINT) is before


def test_ctrl_c_is_still_a_keyboard_interrupt() -> None:
    with pytest.raises(KeyboardInterrupt), ctrl_c():
        signal.raise_signal(signal.SIGINT)


def test_progress_counts_a_pack_once_however_often_it_is_heard_of() -> None:
    told: list[tuple[str, int, str]] = []
    clock = _Clock(lambda *stage: told.append(stage))
    report, rows = (
        _Report(clock, Event()),
        [{"status": "ok", "wall_s": 2.0}, {"status": "failed", "wall_s": 1.5}],
    )
    for step in range(3):
        report.on_trial_result(step, [], None, {"rows": rows})  # type: ignore[arg-type]
    assert told == []
    report.on_trial_complete(3, [], SimpleNamespace(last_result={"rows": rows}))  # type: ignore[arg-type]
    assert (told, clock.computed_s) == ([("cells", 2, "1 failed")], 3.5)


@pytest.mark.parametrize("fails", [False, True])
def test_what_tune_writes_lies_on_this_machine_and_goes(
    fails: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = places_for(str(tmp_path / "store"), str(tmp_path / "results"), "data")
    sources = list(planned(tmp_path).sources)
    scratch: list[Path] = []

    class Tuner:
        def __init__(self, *_: Any, run_config: tune.RunConfig, **__: Any) -> None:
            scratch.append(Path(str(run_config.storage_path)))

        def fit(self) -> None:
            (scratch[0] / "run").mkdir(parents=True)
            if fails:
                raise RuntimeError("Tune")

    monkeypatch.setattr(tune, "Tuner", Tuner)
    with pytest.raises(RuntimeError) if fails else contextlib.nullcontext():
        _fit(
            PackSearcher(sources, places, lambda needs: 1, False), _Clock(lambda *_: None), Event()
        )
    assert not scratch[0].exists()
    assert not list(tmp_path.iterdir())


def test_places_that_workers_cannot_reach_are_refused() -> None:
    with pytest.raises(BadInput, match="memory://rows lies in the memory of one process"):
        places_for("store", "memory://rows", "data")
    with pytest.raises(BadInput, match="cannot reach 'no-such://rows'"):
        places_for("store", "no-such://rows", "data")
