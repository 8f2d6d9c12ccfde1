"""SIGINT, SIGTERM and SIGHUP end a command in order, and by force where that takes too long."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from cluster.signals import interruptible

ROOT = Path(__file__).parents[2]
COMMAND = """
import subprocess, sys, time
from cluster import main, signals
signals.GRACE_S = float(sys.argv[2])

def orderly(args):
    print("ready", flush=True)
    time.sleep(60)

def stubborn(args):
    child = subprocess.Popen(["sleep", "60"], start_new_session=True)
    try:
        print(child.pid, flush=True)  # the signal may come at once
        time.sleep(60)
    finally:
        time.sleep(60)  # as Ray on a busy machine

chosen = {"orderly": orderly, "stubborn": stubborn}[sys.argv[1]]
main.handler = lambda args: chosen
sys.argv[1:] = ["run", "demo"]
main.console()
"""


def start(how: str, grace_s: float) -> "subprocess.Popen[str]":
    """Start a command; it has printed a line when this returns."""
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, how, str(grace_s)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize(
    ("number", "code", "how"),
    [
        (signal.SIGINT, 130, "interrupted"),
        (signal.SIGTERM, 143, "ended by SIGTERM"),
        (signal.SIGHUP, 129, "ended by SIGHUP"),
    ],
)
def test_a_command_ends_with_one_line_and_the_signals_code(
    number: signal.Signals, code: int, how: str
) -> None:
    with start("orderly", grace_s=60) as run:
        assert run.stdout is not None
        assert run.stdout.readline() == "ready\n"
        run.send_signal(number)
        _, err = run.communicate(timeout=60)
    assert run.returncode == code
    assert err.strip() == (
        f"amnesia: {how}; finished cells are kept, and the same command continues there"
    )


@pytest.mark.parametrize("second", [None, signal.SIGINT])
def test_what_does_not_end_in_order_is_killed_with_its_children(
    second: signal.Signals | None,
) -> None:
    with start("stubborn", grace_s=60 if second else 0.5) as run:
        assert run.stdout is not None
        child = psutil.Process(int(run.stdout.readline()))
        run.send_signal(signal.SIGTERM)
        if second:
            time.sleep(0.5)  # else both arrive as one
            run.send_signal(second)
        _, err = run.communicate(timeout=60)
    assert run.returncode == 143
    assert err.splitlines() == [
        "amnesia: ended by SIGTERM; finished cells are kept, and the same command continues there"
    ]
    assert not child.is_running()


def test_handlers_are_as_before_afterwards() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(KeyboardInterrupt), interruptible("") as interruption:
        signal.raise_signal(signal.SIGTERM)
    assert interruption.exit_code == 143
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_under_nohup_a_hang_up_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with interruptible("") as interruption:
            signal.raise_signal(signal.SIGHUP)
            time.sleep(0.05)
        assert interruption.number is None
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
