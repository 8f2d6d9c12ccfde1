"""Running a plan: what does not need a Ray to be seen. The rest is in tests/e2e."""

import contextlib
import signal

import pytest

from sweeps.run import _Clock, _Report, ctrl_c


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
