"""Progress as lines: counts, and an ETA from this run's own pace."""

import pytest

from cluster.progress import CELLS, LOG_S, PREPARE, Stage, last_line, lines


class Clock:
    """Seconds that a test sets."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_the_eta_is_measured_from_the_cells_of_this_run(clock: Clock) -> None:
    stage = Stage(CELLS, total=48, now=clock)
    assert stage.line() == "cells: 0 of 48 cells, 0 failed, 48 left"
    clock.seconds += 60
    stage.advance(12, "1 failed")
    # 12 cells took 60 s, so 36 more take 180 s
    assert stage.line() == "cells: 12 of 48 cells, 1 failed, 36 left, ETA 03:00"


def test_a_cell_that_fails_without_a_trial_counts_as_failed(clock: Clock) -> None:
    stage = Stage(CELLS, total=3, now=clock)
    stage.advance(1, "cnn failed")
    stage.advance(1, "")
    assert (stage.done, stage.failed) == (2, 1)


def test_lines_come_at_the_first_item_now_and_then_and_at_the_last(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with lines({CELLS: Stage(CELLS, total=4, now=clock)}) as show:
        for seconds in (1.0, 1.0, LOG_S, 1.0):
            clock.seconds += seconds
            show(CELLS, 1, "")
    printed = capsys.readouterr().err.splitlines()
    assert [line.split(",")[0] for line in printed] == [
        "cells: 1 of 4 cells",
        "cells: 3 of 4 cells",
        "cells: 4 of 4 cells",
    ]


def test_the_pace_of_cells_begins_when_the_artifacts_are_made(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    found = {name: Stage(name, total=2, now=clock) for name in (PREPARE, CELLS)}
    with lines(found) as show:
        clock.seconds += 500
        show(PREPARE, 2, "oracle cnn of [1] seed 0")
        clock.seconds += 5
        show(CELLS, 1, "")
    assert capsys.readouterr().err.splitlines() == [
        "prepare: 2 of 2 artifacts, 0 left, ETA 00:00",
        "cells: 1 of 2 cells, 0 failed, 1 left, ETA 00:05",
    ]


def test_a_stage_with_nothing_to_do_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with lines({}) as show:
        show(PREPARE, 1, "fisher")
    assert capsys.readouterr().err == ""


def test_the_last_line_of_a_log_is_found() -> None:
    log = "running on a local Ray\ncells: 1 of 4 cells\ncells: 3 of 4 cells\nwarning: a node died\n"
    assert last_line(log) == "cells: 3 of 4 cells"
    assert last_line("no progress yet\n") is None
