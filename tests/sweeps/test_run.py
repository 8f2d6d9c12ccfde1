"""Running a plan: what does not need a Ray to be seen. The rest is in tests/e2e."""

import contextlib
import signal
from pathlib import Path
from threading import Event
from typing import Any

import pytest
import ray
from ray import tune

from sweeps.parse import parse
from sweeps.plan import make_plan
from sweeps.rows import Results
from sweeps.run import _Clock, _fit, _Report, ctrl_c, site_for
from unlearn.artifacts import Store
from unlearn.errors import BadInput

SPEC: dict[str, Any] = {"name": "s", "models": "cnn", "method": "fine-tune", "forget": [1]}


def test_a_ctrl_c_that_was_swallowed_is_raised_at_the_next_result() -> None:
    before = signal.getsignal(signal.SIGINT)
    told: list[int] = []
    with ctrl_c() as struck:
        report = _Report(_Clock(lambda stage, more, what: told.append(more)), struck)
        report.on_trial_result(1, [], None, {"rows": [{"status": "ok"}]})  # type: ignore[arg-type]
        with contextlib.suppress(KeyboardInterrupt):  # as a library's callback would
            signal.raise_signal(signal.SIGINT)
        assert struck.is_set()
        with pytest.raises(KeyboardInterrupt):
            report.on_trial_result(2, [], None, {"rows": [{"status": "ok"}]})  # type: ignore[arg-type]
    assert told == [1]
    assert signal.getsignal(signal.SIGINT) is before


def test_ctrl_c_is_still_a_keyboard_interrupt() -> None:
    with pytest.raises(KeyboardInterrupt), ctrl_c():
        signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("fails", [False, True])
def test_what_tune_writes_lies_on_this_machine_and_goes(
    fails: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = site_for(str(tmp_path / "store"), str(tmp_path / "results"), "data")
    sources = make_plan([parse(SPEC)], Store(site.store), Results(site.results)).sources
    scratch: list[Path] = []

    class Tuner:
        def __init__(self, *_: Any, run_config: tune.RunConfig, **__: Any) -> None:
            scratch.append(Path(str(run_config.storage_path)))

        def fit(self) -> None:
            (scratch[0] / "run").mkdir(parents=True)
            if fails:
                raise RuntimeError("Tune")

    monkeypatch.setattr(tune, "Tuner", Tuner)
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 1})
    with pytest.raises(RuntimeError) if fails else contextlib.nullcontext():
        _fit(list(sources), site, _Clock(lambda *_: None), False, Event())
    assert not scratch[0].exists()
    assert not list(tmp_path.iterdir())


def test_places_that_workers_cannot_reach_are_refused() -> None:
    with pytest.raises(BadInput, match="memory://rows lies in the memory of one process"):
        site_for("store", "memory://rows", "data")
    with pytest.raises(BadInput, match="cannot reach 'no-such://rows'"):
        site_for("store", "no-such://rows", "data")
