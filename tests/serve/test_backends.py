"""How models are run in the HTTP process: refusals, times, and what runs at once."""

import asyncio
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from serve import backends
from serve.api import Busy
from serve.backends import Admission, InlineBackend
from serve.catalog import ModelKey
from serve.health import Health
from serve.models import ModelCache
from serve.trace import Trace, begin, end

KEY = ModelKey("digits", "v1", "amnesiac", "0" * 64, "cvae-mlp", (1, 28, 28), 10)


class FakeCache(ModelCache):
    """Models that take a given time, and note the threads that they run in.

    seconds: how long each call takes.
    may_run: calls wait for it.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.threads: list[str] = []
        self.may_run = threading.Event()
        self.may_run.set()

    def generate(self, key: ModelKey, label: int, n: int, seed: int) -> Any:
        self.threads.append(threading.current_thread().name)
        self.may_run.wait()
        time.sleep(self.seconds)
        return np.full((n, 1, 1, 1), seed, np.uint8)

    def holds(self, key: ModelKey) -> bool:
        return True


@pytest.fixture
def trace() -> Iterator[Trace]:
    """The trace of the request that the test stands for."""
    made = Trace("id", "GET", "/")
    token = begin(made)
    yield made
    end(token)


def backend(cache: FakeCache, places: int) -> InlineBackend:
    return InlineBackend(cache, Admission(places), Health("amnesia"))


def test_what_finds_no_place_is_refused_at_once() -> None:
    cache = FakeCache(0.05)

    async def crowd() -> list[Any]:
        inline = backend(cache, 2)
        asked = [inline.generate(KEY, 1, 1, seed) for seed in range(5)]
        return await asyncio.gather(*asked, return_exceptions=True)

    answers = asyncio.run(crowd())
    assert [isinstance(answer, Busy) for answer in answers] == [False, False, True, True, True]
    assert [int(answer[0, 0, 0, 0]) for answer in answers[:2]] == [0, 1]
    assert len(cache.threads) == 2


def test_a_place_is_free_again_after_an_answer_and_after_an_error() -> None:
    admission = Admission(1)
    with pytest.raises(ZeroDivisionError), admission.place():
        raise ZeroDivisionError
    with admission.place(), pytest.raises(Busy), admission.place():
        pass
    with admission.place():
        pass


def test_what_is_known_to_be_short_runs_in_the_event_loop(
    trace: Trace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backends, "QUICK_S", 60.0)  # on a busy machine, nothing takes no time
    cache = FakeCache(0.0)

    async def twice() -> None:
        inline = backend(cache, 2)
        await inline.generate(KEY, 1, 1, 0)
        await inline.generate(KEY, 1, 1, 0)
        await inline.generate(KEY, 1, 2, 0)  # another size: not known

    asyncio.run(twice())
    here = threading.current_thread().name
    assert [thread == here for thread in cache.threads] == [False, True, False]


def test_what_is_long_stays_in_the_thread(trace: Trace) -> None:
    cache = FakeCache(0.01)

    async def twice() -> None:
        inline = backend(cache, 2)
        await inline.generate(KEY, 1, 1, 0)
        await inline.generate(KEY, 1, 1, 0)

    asyncio.run(twice())
    assert threading.current_thread().name not in cache.threads


def test_the_trace_tells_waiting_from_running(trace: Trace) -> None:
    cache = FakeCache(0.03)
    cache.may_run.clear()

    async def two_at_once() -> None:
        inline = backend(cache, 2)
        asked = [asyncio.create_task(inline.generate(KEY, 1, 1, 0)) for _ in range(2)]
        await asyncio.sleep(0)  # both have asked for the thread
        cache.may_run.set()
        await asyncio.gather(*asked)

    asyncio.run(two_at_once())
    assert trace.model_s >= 0.06
    assert trace.queued_s >= 0.03  # the second waited for the first
