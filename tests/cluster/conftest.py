"""What a command does at a signal must not depend on how the tests were started."""

import signal
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def hangups() -> Iterator[None]:
    """Let commands inherit SIGHUP as a terminal gives it: under `nohup` it is ignored."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)
